//! Volumes that are borrowed, confirmed, replaced and given back, with real files and a library that does as
//! the test says.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use context::Context;
use direct::{Decline, Library, Limits, Offer, ShortCircuit, Volumes};
use fabric::{Destination, Route, RouteError, Stored, Suspects, UpTo, Way, Whole};
use seaweed::FileId;
use seaweed::crc::crc32c;
use seaweed::volume::{IndexEntry, NeedleHeader, OffsetWidth, SuperBlock, UNIT, Version, flags};
use volume::lent::Inodes;
use volume::{DataDir, Lending, Store, StoreConfig};

const SOON: Duration = Duration::from_secs(20);
const LIMITS: Limits = Limits {
    volumes: 8,
    index_bytes: 1 << 20,
    sums_bytes: 1 << 20,
};

/// A folder of volumes, and a sidecar that lends them.
struct Host {
    folder: tempfile::TempDir,
    store: Arc<Store>,
    sidecar: Arc<Sidecar>,
}

#[derive(Default)]
struct Sidecar {
    is_silent: AtomicBool,
    refuses: AtomicBool,
    asked: AtomicU64,
    held: Mutex<Vec<(u32, Option<Inodes>)>>,
}

struct Lends(Arc<Store>, Arc<Sidecar>);

impl Library for Lends {
    fn borrow(&mut self, volume: u32, held: Option<Inodes>) -> Offer {
        let Self(store, sidecar) = self;
        sidecar.asked.fetch_add(1, Ordering::SeqCst);
        sidecar.held.lock().unwrap().push((volume, held));
        if sidecar.is_silent.load(Ordering::SeqCst) {
            return Offer::Silence;
        }
        if sidecar.refuses.load(Ordering::SeqCst) {
            return Offer::Nothing(Decline::Refused);
        }
        match store.lend(volume, held) {
            Ok(Lending::Files(files)) => Offer::Files(files),
            Ok(Lending::Same) => Offer::Same,
            Err(_) => Offer::Nothing(Decline::NotHere),
        }
    }
}

/// Counts what comes this far.
struct Elsewhere(AtomicU64);

impl Route for Elsewhere {
    fn name(&self) -> &'static str {
        "elsewhere"
    }

    fn read_at(
        &self,
        _: &Context<'_>,
        _: FileId,
        _: u64,
        dst: &mut [u8],
    ) -> Result<Way, RouteError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        dst.fill(0xee);
        Ok(Way::Fabric)
    }

    fn read_whole(
        &self,
        _: &Context<'_>,
        _: FileId,
        _: Stored,
        to: &mut dyn Destination,
    ) -> Result<Whole, RouteError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        to.memory(1).unwrap()[0] = 0xee;
        Ok(Whole {
            len: 1,
            verified: true,
            way: Way::Fabric,
            near: true,
        })
    }
}

fn data(key: u64, len: usize) -> Vec<u8> {
    let byte = |at: usize| (at as u64 * 31 + key * 7 + at as u64 / 256) as u8;
    (0..len).map(byte).collect()
}

/// Writes a volume with these needles.
fn write(folder: &Path, id: u32, revision: u16, needles: &[(u64, u8, &[u8])]) {
    let block = SuperBlock {
        version: Version::V3,
        replica_placement: 0,
        ttl: None,
        revision,
        extra: 0,
    };
    let (mut dat, mut idx) = (block.to_bytes().to_vec(), Vec::new());
    for (key, flag, data) in needles {
        let mut body = (data.len() as u32).to_be_bytes().to_vec();
        body.extend(*data);
        body.push(*flag);
        let header = NeedleHeader {
            cookie: 5,
            id: *key,
            size: body.len() as i32,
        };
        let entry = IndexEntry {
            key: *key,
            units: dat.len() as u64 / UNIT,
            size: body.len() as i32,
        };
        OffsetWidth::Five.append(&entry, &mut idx);
        dat.extend(header.to_bytes());
        dat.extend(body);
        dat.extend(crc32c(data).to_be_bytes());
        dat.extend([0; 8]);
        dat.resize(dat.len().next_multiple_of(UNIT as usize) + UNIT as usize, 0);
        let padded = (16 + entry.size as usize + 12) / 8 * 8 + 8;
        dat.truncate(entry.units as usize * UNIT as usize + padded);
    }
    fs::write(folder.join(format!("{id}.vif")), r#"{"bytesOffset":5}"#).unwrap();
    for (extension, bytes) in [("dat", dat), ("idx", idx)] {
        let new = folder.join("new");
        fs::write(&new, bytes).unwrap();
        fs::rename(new, folder.join(format!("{id}.{extension}"))).unwrap();
    }
}

impl Host {
    /// With the volumes 1 and 2, each with a needle of one length.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 1, 0, &[(1, 0, &data(1, 50_000))]);
        write(folder.path(), 2, 0, &[(1, 0, &data(2, 50_000))]);
        let mut config = StoreConfig::new(vec![DataDir::new(folder.path())]);
        config.scan_interval = Duration::from_secs(3600);
        let store = Store::open(config).unwrap();
        assert!(store.wait_ready(SOON));
        Self {
            folder,
            store,
            sidecar: Arc::default(),
        }
    }

    fn mount(&self, limits: Limits) -> Mount {
        let library = Lends(Arc::clone(&self.store), Arc::clone(&self.sidecar));
        let volumes = Arc::new(Volumes::new(Box::new(library), limits).unwrap());
        let suspects: Arc<Suspects> = Arc::default();
        let next = Arc::new(Elsewhere(AtomicU64::new(0)));
        Mount {
            route: ShortCircuit::new(Arc::clone(&volumes), Next(Arc::clone(&next)), suspects),
            volumes,
            next,
        }
    }
}

struct Next(Arc<Elsewhere>);

impl Route for Next {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn read_at(
        &self,
        ctx: &Context<'_>,
        needle: FileId,
        offset: u64,
        dst: &mut [u8],
    ) -> Result<Way, RouteError> {
        self.0.read_at(ctx, needle, offset, dst)
    }

    fn read_whole(
        &self,
        ctx: &Context<'_>,
        needle: FileId,
        form: Stored,
        to: &mut dyn Destination,
    ) -> Result<Whole, RouteError> {
        self.0.read_whole(ctx, needle, form, to)
    }
}

struct Mount {
    route: ShortCircuit<Next>,
    volumes: Arc<Volumes>,
    next: Arc<Elsewhere>,
}

impl Mount {
    /// Reads a range of the needle of a volume; which way it came.
    fn read(&self, volume: u32) -> Way {
        let mut part = [0; 1000];
        let ctx = Context::background(SOON);
        let way = self.route.read_at(&ctx, id(volume, 1), 20_000, &mut part);
        let way = way.unwrap();
        if way == Way::ShortCircuit {
            assert_eq!(part, data(volume.into(), 50_000)[20_000..21_000]);
        }
        way
    }

    fn whole(&self, needle: FileId, form: Stored) -> (Way, Vec<u8>) {
        let mut to = UpTo::new(1 << 20);
        let ctx = Context::background(SOON);
        let whole = self.route.read_whole(&ctx, needle, form, &mut to).unwrap();
        (whole.way, to.bytes[..whole.len].to_vec())
    }

    fn declined(&self, why: Decline) -> u64 {
        self.volumes.stats().declined_for(why)
    }

    fn elsewhere(&self) -> u64 {
        self.next.0.load(Ordering::SeqCst)
    }
}

fn id(volume: u32, key: u64) -> FileId {
    FileId {
        volume,
        key,
        cookie: 5,
    }
}

fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < SOON, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_first_read_of_a_volume_waits_for_its_files_and_the_others_ask_nobody() {
    let host = Host::new();
    let mount = host.mount(LIMITS);
    for _ in 0..100 {
        assert_eq!(mount.read(1), Way::ShortCircuit);
    }
    assert_eq!(mount.elsewhere(), 0);
    let stats = mount.volumes.stats();
    assert_eq!((stats.reads.get(), stats.bytes.get()), (100, 100_000));
    assert_eq!(stats.borrowed.get(), 1);
    assert_eq!(mount.read(3), Way::Fabric);
    assert_eq!(mount.declined(Decline::NotHere), 1);
}

#[test]
fn what_is_expected_is_borrowed_before_it_is_read() {
    let host = Host::new();
    let mount = host.mount(LIMITS);
    mount.route.expect(&[1, 2]);
    eventually("both are lent", || {
        mount.volumes.stats().borrowed.get() == 2
    });
    let asked = host.sidecar.asked.load(Ordering::SeqCst);
    assert_eq!(
        (mount.read(1), mount.read(2)),
        (Way::ShortCircuit, Way::ShortCircuit)
    );
    assert!(
        host.sidecar.asked.load(Ordering::SeqCst) <= asked + 2,
        "at most to confirm"
    );
}

#[test]
fn files_that_nobody_confirms_are_read_for_five_seconds_and_then_not() {
    let host = Host::new();
    let mount = host.mount(LIMITS);
    assert_eq!(mount.read(1), Way::ShortCircuit);
    host.sidecar.is_silent.store(true, Ordering::SeqCst);
    let silent = Instant::now();
    while mount.read(1) == Way::ShortCircuit {
        assert!(silent.elapsed() < Duration::from_millis(5_500));
        thread::sleep(Duration::from_millis(10));
    }
    // The last answer came a second before at most.
    assert!(
        silent.elapsed() > Duration::from_millis(3_500),
        "{:?}",
        silent.elapsed()
    );
    assert!(mount.declined(Decline::Lease) > 0);
    host.sidecar.is_silent.store(false, Ordering::SeqCst);
    eventually("they are confirmed", || mount.read(1) == Way::ShortCircuit);
    assert_eq!(
        mount.volumes.stats().borrowed.get(),
        1,
        "nothing was opened anew"
    );
    assert!(mount.volumes.stats().confirmed.get() > 0);
}

#[test]
fn a_sidecar_that_lends_no_more_ends_it_within_a_second_or_so() {
    let host = Host::new();
    let mount = host.mount(LIMITS);
    assert_eq!(mount.read(1), Way::ShortCircuit);
    host.sidecar.refuses.store(true, Ordering::SeqCst);
    eventually("it ends", || mount.read(1) == Way::Fabric);
    assert!(mount.declined(Decline::Refused) > 0);
    host.sidecar.refuses.store(false, Ordering::SeqCst);
    eventually("it begins again", || mount.read(1) == Way::ShortCircuit);
}

#[test]
fn files_that_were_replaced_are_asked_for_at_once() {
    let host = Host::new();
    let mount = host.mount(LIMITS);
    for revision in 1..20 {
        assert_eq!(mount.read(1), Way::ShortCircuit);
        let more = data(9, 100 * usize::from(revision));
        let needles: [(u64, u8, &[u8]); 2] = [(9, 0, &more), (1, 0, &data(1, 50_000))];
        write(host.folder.path(), 1, revision, &needles);
        eventually("the new files are read", || {
            mount.read(1) == Way::ShortCircuit
        });
        let (way, bytes) = mount.whole(id(1, 9), Stored::Plain);
        assert_eq!((way, bytes), (Way::ShortCircuit, more));
    }
    assert!(mount.declined(Decline::Replaced) > 10);
}

#[test]
fn a_damaged_needle_is_left_to_others_from_then_on() {
    let host = Host::new();
    let mount = host.mount(LIMITS);
    assert_eq!(mount.read(1), Way::ShortCircuit);
    let path = host.folder.path().join("1.dat");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    // In place, as a disk does it.
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes[at..=at], at as u64).unwrap();
    assert_eq!(mount.whole(id(1, 1), Stored::Plain).0, Way::Fabric);
    assert_eq!(mount.read(1), Way::Fabric);
    assert_eq!(mount.declined(Decline::Suspect), 2);
    assert_eq!(mount.read(2), Way::ShortCircuit);
}

#[test]
fn forms_that_need_more_than_bytes_are_inflated_or_left_to_others() {
    let host = Host::new();
    let text = data(3, 3_000);
    let packed = gzip(&text);
    let list = b"[]".as_slice();
    let needles: [(u64, u8, &[u8]); 2] =
        [(1, flags::GZIP, &packed), (2, flags::CHUNK_MANIFEST, list)];
    write(host.folder.path(), 4, 0, &needles);
    host.store.rescan();
    let mount = host.mount(LIMITS);
    assert_eq!(
        mount.whole(id(4, 1), Stored::Plain),
        (Way::ShortCircuit, text)
    );
    assert_eq!(
        mount.whole(id(4, 1), Stored::Gzip),
        (Way::ShortCircuit, packed)
    );
    let ctx = Context::background(SOON);
    let range = mount.route.read_at(&ctx, id(4, 1), 0, &mut [0; 10]);
    assert_eq!(range.unwrap(), Way::Fabric);
    assert_eq!(mount.whole(id(4, 2), Stored::Plain).0, Way::Fabric);
    assert_eq!(mount.declined(Decline::Form), 2);
    let far = mount.route.read_at(&ctx, id(1, 1), 49_999, &mut [0; 2]);
    assert_eq!(far.unwrap(), Way::Fabric);
    assert_eq!(mount.declined(Decline::PastEnd), 1);
    let absent = mount.route.read_at(&ctx, id(1, 7), 0, &mut [0; 2]);
    assert_eq!(absent.unwrap(), Way::Fabric);
    assert_eq!(mount.declined(Decline::Absent), 1);
    // A part without memory of its own goes the same ways.
    let part = |needle, room| {
        let mut to = UpTo::new(room);
        let way = mount.route.read_part(&ctx, needle, 20_000, 1000, &mut to);
        way.map(|way| (way, to.bytes))
    };
    let (way, bytes) = part(id(1, 1), 1000).unwrap();
    assert_eq!(way, Way::ShortCircuit);
    assert!(bytes == data(1, 50_000)[20_000..21_000]);
    assert_eq!(part(id(4, 1), 1000).unwrap().0, Way::Fabric);
    assert_eq!(mount.declined(Decline::Form), 3);
    let refused = part(id(1, 1), 999);
    assert!(matches!(
        refused,
        Err(RouteError::Refused { len: 1000, .. })
    ));
}

#[test]
fn what_does_not_fit_is_left_to_others_and_who_has_no_room_says_so() {
    let host = Host::new();
    let one = Limits {
        volumes: 1,
        ..LIMITS
    };
    let mount = host.mount(one);
    assert_eq!(mount.read(1), Way::ShortCircuit);
    assert_eq!(mount.read(2), Way::Fabric);
    assert_eq!(mount.declined(Decline::Budget), 1);
    assert_eq!(mount.read(1), Way::ShortCircuit);
    // The first is not wanted any more, and makes room.
    eventually("there is room", || mount.read(2) == Way::ShortCircuit);
}

#[test]
fn a_destination_without_room_is_told_of_and_nobody_else_is_asked() {
    let host = Host::new();
    let mount = host.mount(LIMITS);
    let mut to = UpTo::new(49_999);
    let ctx = Context::background(SOON);
    let refused = mount
        .route
        .read_whole(&ctx, id(1, 1), Stored::Plain, &mut to);
    let is_refused = matches!(refused, Err(RouteError::Refused { len: 50_000, .. }));
    assert!(is_refused, "{refused:?}");
    assert_eq!(mount.elsewhere(), 0);
}

/// A gzip stream of one stored block.
fn gzip(text: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    let len = text.len() as u16;
    out.extend(len.to_le_bytes());
    out.extend((!len).to_le_bytes());
    out.extend(text);
    out.extend(crc32(text).to_le_bytes());
    out.extend((text.len() as u32).to_le_bytes());
    out
}

/// The checksum of gzip, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & 0u32.wrapping_sub(crc & 1))
        })
    };
    !bytes.iter().fold(!0, step)
}
