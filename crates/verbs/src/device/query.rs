//! What only the library knows: whether a device opens, and the MTU of its ports.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;

use rdma_mummy_sys as sys;

/// Of each device that the library drives: its name and, of each port in order, the active MTU;
/// or why it does not open.
pub(super) fn all() -> Vec<(String, io::Result<Vec<Option<u32>>>)> {
    let mut count = 0;
    // SAFETY: the library fills in `count` and returns an array of that many devices, or null.
    let list = unsafe { sys::ibv_get_device_list(&mut count) };
    if list.is_null() {
        return Vec::new();
    }
    let mut answers = Vec::new();
    for index in 0..usize::try_from(count).unwrap_or(0) {
        // SAFETY: `index` is below the length of the array, whose devices live until it is freed;
        // a device's name is a C string inside it.
        let (name, mtus) = unsafe {
            let device = *list.add(index);
            let name = CStr::from_ptr(sys::ibv_get_device_name(device));
            (name.to_string_lossy().into_owned(), mtus(device))
        };
        answers.push((name, mtus));
    }
    // SAFETY: the array came from ibv_get_device_list; every context opened from it is closed.
    unsafe { sys::ibv_free_device_list(list) };
    answers
}

/// # Safety
/// `device` must be of a list that is not yet freed.
unsafe fn mtus(device: *mut sys::ibv_device) -> io::Result<Vec<Option<u32>>> {
    // SAFETY: a live device, says the caller.
    let context = unsafe { sys::ibv_open_device(device) };
    if context.is_null() {
        return Err(io::Error::last_os_error());
    }
    let mut attr = MaybeUninit::<sys::ibv_device_attr>::zeroed();
    // SAFETY: an open context, and room for the answer, which is plain data and valid when zero.
    let ports = unsafe {
        match sys::ibv_query_device(context, attr.as_mut_ptr()) {
            0 => Ok(attr.assume_init().phys_port_cnt),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    };
    let mtus = ports.map(|ports| {
        let ports = 1..=ports;
        // SAFETY: an open context, whose ports are numbered from 1 on.
        ports.map(|port| unsafe { mtu(context, port) }).collect()
    });
    // SAFETY: opened above, and nothing was made with it.
    unsafe { sys::ibv_close_device(context) };
    mtus
}

/// # Safety
/// `context` must be open and have a port of that number.
unsafe fn mtu(context: *mut sys::ibv_context, port: u8) -> Option<u32> {
    let mut attr = MaybeUninit::<sys::ibv_port_attr>::zeroed();
    // SAFETY: as the caller says; the answer is plain data and valid when zero.
    let attr = unsafe {
        if sys::ibv_query_port(context, port, attr.as_mut_ptr()) != 0 {
            return None;
        }
        attr.assume_init()
    };
    // enum ibv_mtu: 1 is 256 bytes, and each step doubles.
    (1..=5)
        .contains(&attr.active_mtu)
        .then(|| 128 << attr.active_mtu)
}
