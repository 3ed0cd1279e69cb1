//! One protection domain for each device, shared by all its connections.
//!
//! The connection manager opens a device once and gives every connection over it the same
//! context. Beside that context goes one protection domain, made at first use and kept for as long
//! as the process lives: memory registered with it is good on every connection over the device,
//! and there are as many as there are devices.

use parking_lot::Mutex;

use crate::{Error, raw, unavailable};

/// A device that is open, with its protection domain.
pub struct Domain {
    context: raw::Context,
    pd: raw::Pd,
    name: String,
}

static DOMAINS: Mutex<Vec<&'static Domain>> = Mutex::new(Vec::new());

/// Contexts a process may come to see: one for each device, and one more whenever a device is
/// removed and comes back.
const MAX_DOMAINS: usize = 256;

impl Domain {
    /// The domains of all devices that the connection manager can use, to register memory ahead of
    /// the first connection.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when there is none.
    pub fn all() -> Result<Vec<&'static Self>, Error> {
        unavailable::libraries()?;
        let open = || raw::Devices::open().map_err(|error| unavailable::no_channel(&error));
        let devices = open()?;
        let hold = || {
            std::mem::forget(open()?);
            Ok(())
        };
        devices
            .contexts()
            .into_iter()
            .map(|context| Self::of(context, hold))
            .collect()
    }

    /// The device's name, such as `mlx5_0`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The domain of an open device. When it is new, `hold` makes the device stay open for ever.
    pub(crate) fn of(
        context: raw::Context,
        hold: impl FnOnce() -> Result<(), Error>,
    ) -> Result<&'static Self, Error> {
        let mut domains = DOMAINS.lock();
        if let Some(domain) = domains.iter().find(|domain| domain.context == context) {
            return Ok(domain);
        }
        if domains.len() >= MAX_DOMAINS {
            let what = format!("more than {MAX_DOMAINS} RDMA devices came and went");
            return Err(Error::Config { what });
        }
        hold()?;
        let pd = context
            .allocate_pd()
            .map_err(|error| Error::call("cannot allocate a protection domain", error))?;
        let name = context.name();
        let domain: &'static Self = Box::leak(Box::new(Self { context, pd, name }));
        domains.push(domain);
        Ok(domain)
    }

    pub(crate) fn context(&self) -> raw::Context {
        self.context
    }

    /// The protection domain; valid for ever.
    pub(crate) fn pd(&self) -> *mut rdma_mummy_sys::ibv_pd {
        self.pd.as_ptr()
    }
}

impl PartialEq for Domain {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Domain {}

impl std::fmt::Debug for Domain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Domain").field(&self.name).finish()
    }
}
