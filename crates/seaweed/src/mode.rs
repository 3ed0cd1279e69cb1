//! What kind of file an entry is, and its permissions.
//!
//! `file_mode` is Go's `os.FileMode`: permissions as in POSIX in the low nine
//! bits, the type in high bits of Go's own. Setuid, setgid and sticky come in
//! two forms: Go's tools set Go's bits, while `weed mount` stores the POSIX
//! bits `07000` as they are. Both are understood.

use crate::pb;

/// What kind of file an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Bytes.
    Regular,
    /// Other entries.
    Directory,
    /// A path.
    Symlink,
    /// A block device, named by its number.
    BlockDevice,
    /// A character device, named by its number.
    CharDevice,
    /// A named pipe.
    Fifo,
    /// A socket in the file system.
    Socket,
}

impl Kind {
    /// The kind that Go's mode bits say; what they do not know is a regular file, as it is
    /// for `weed mount`.
    pub fn from_go(mode: u32) -> Self {
        match mode & GO_TYPE {
            GO_DIR => Self::Directory,
            GO_SYMLINK => Self::Symlink,
            GO_DEVICE => Self::BlockDevice,
            // `weed mount` writes the first form, and Go itself the second.
            GO_CHAR => Self::CharDevice,
            both if both == GO_CHAR | GO_DEVICE => Self::CharDevice,
            GO_FIFO => Self::Fifo,
            GO_SOCKET => Self::Socket,
            _ => Self::Regular,
        }
    }

    /// The mode bits that `weed mount` stores for this kind.
    pub fn to_go(self) -> u32 {
        match self {
            Self::Regular => 0,
            Self::Directory => GO_DIR,
            Self::Symlink => GO_SYMLINK,
            Self::BlockDevice => GO_DEVICE,
            Self::CharDevice => GO_CHAR,
            Self::Fifo => GO_FIFO,
            Self::Socket => GO_SOCKET,
        }
    }
}

/// The kind of an entry; a directory may say so beside its mode.
pub(crate) fn kind(is_directory: bool, attributes: &pb::FuseAttributes) -> Kind {
    match is_directory {
        true => Kind::Directory,
        false => Kind::from_go(attributes.file_mode),
    }
}

/// The twelve permission bits of POSIX.
pub(crate) fn permissions(mode: u32) -> u16 {
    let special = [
        (GO_SETUID, S_ISUID),
        (GO_SETGID, S_ISGID),
        (GO_STICKY, S_ISVTX),
    ];
    let special = special.iter().filter(|(go, _)| mode & go != 0);
    let posix = special.fold(mode & 0o7777, |perm, (_, bit)| perm | bit);
    // Twelve bits fit.
    posix as u16
}

const GO_DIR: u32 = 1 << 31;
const GO_SYMLINK: u32 = 1 << 27;
const GO_DEVICE: u32 = 1 << 26;
const GO_FIFO: u32 = 1 << 25;
const GO_SOCKET: u32 = 1 << 24;
const GO_SETUID: u32 = 1 << 23;
const GO_SETGID: u32 = 1 << 22;
const GO_CHAR: u32 = 1 << 21;
const GO_STICKY: u32 = 1 << 20;
const GO_TYPE: u32 = GO_DIR | GO_SYMLINK | GO_DEVICE | GO_FIFO | GO_SOCKET | GO_CHAR;

const S_ISUID: u32 = 0o4000;
const S_ISGID: u32 = 0o2000;
const S_ISVTX: u32 = 0o1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_the_store() {
        for kind in [
            Kind::Regular,
            Kind::Directory,
            Kind::Symlink,
            Kind::BlockDevice,
            Kind::CharDevice,
            Kind::Fifo,
            Kind::Socket,
        ] {
            assert_eq!(Kind::from_go(kind.to_go() | 0o7777), kind);
        }
    }

    #[test]
    fn the_type_bits_are_those_of_go() {
        let table = [
            (0, Kind::Regular),
            (0x8000_0000, Kind::Directory),
            (0x0800_0000, Kind::Symlink),
            (0x0400_0000, Kind::BlockDevice),
            (0x0020_0000, Kind::CharDevice),
            (0x0420_0000, Kind::CharDevice),
            (0x0200_0000, Kind::Fifo),
            (0x0100_0000, Kind::Socket),
            (0x0900_0000, Kind::Regular),
        ];
        for (mode, kind) in table {
            assert_eq!(Kind::from_go(mode | 0o644), kind, "{mode:#x}");
        }
    }

    #[test]
    fn a_directory_may_say_so_twice_or_once() {
        let plain = pb::FuseAttributes::default();
        assert_eq!(kind(true, &plain), Kind::Directory);
        assert_eq!(kind(false, &plain), Kind::Regular);
    }

    #[test]
    fn special_permissions_come_in_two_spellings() {
        let table = [
            (0o644, 0o644),
            (0o4755, 0o4755),
            (0o7777, 0o7777),
            (1 << 23 | 0o755, 0o4755),
            (1 << 22 | 0o755, 0o2755),
            (1 << 31 | 1 << 20 | 0o777, 0o1777),
            (1 << 23 | 1 << 22 | 1 << 20, 0o7000),
            (u32::MAX, 0o7777),
        ];
        for (mode, perm) in table {
            assert_eq!(permissions(mode), perm, "{mode:#o}");
        }
    }
}
