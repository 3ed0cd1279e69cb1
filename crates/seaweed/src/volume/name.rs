//! Names of the files of a volume: `7.dat`, `pictures_7.idx`.

/// A file name that belongs to a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VolumeFile<'a> {
    /// The name without its extension, which all files of the volume share.
    pub base: &'a str,
    /// The collection, empty for the default one. It may hold underscores itself.
    pub collection: &'a str,
    /// The volume's id.
    pub volume: u32,
    /// What follows the last dot: `dat`, `idx`, `vif`, `note`, `ec00`, …
    pub extension: &'a str,
}

impl<'a> VolumeFile<'a> {
    /// Takes a file name apart; nothing when it is not of a volume.
    pub fn parse(name: &'a str) -> Option<Self> {
        // Collections may hold dots, extensions do not.
        let (base, extension) = name.rsplit_once('.')?;
        let (collection, id) = match base.rsplit_once('_') {
            // A name that begins with the underscore has no collection, and no number either.
            Some(("", _)) => return None,
            Some(parts) => parts,
            None => ("", base),
        };
        let digits = !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit());
        let volume = if digits {
            id.parse().ok()?
        } else {
            return None;
        };
        Some(Self {
            base,
            collection,
            volume,
            extension,
        })
    }
}

/// The name that all files of a volume share.
pub fn base_name(collection: &str, volume: u32) -> String {
    match collection {
        "" => volume.to_string(),
        collection => format!("{collection}_{volume}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_underscore_ends_the_collection() {
        let file = VolumeFile::parse("a_b.c_8.dat").unwrap();
        assert_eq!((file.base, file.collection), ("a_b.c_8", "a_b.c"));
        assert_eq!((file.volume, file.extension), (8, "dat"));
        assert_eq!(VolumeFile::parse("7.ec00").unwrap().extension, "ec00");
        for other in [
            "7",
            "vol_dir.uuid",
            "_7.dat",
            "+7.dat",
            ".dat",
            "a_.dat",
            "4294967296.dat",
            "7.a.dat",
        ] {
            assert_eq!(VolumeFile::parse(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn names_are_put_together_as_they_are_taken_apart(
            collection in "([a-z_.]{0,8}[a-z])?",
            volume: u32,
        ) {
            let base = base_name(&collection, volume);
            let name = format!("{base}.dat");
            match VolumeFile::parse(&name) {
                Some(file) => {
                    prop_assert_eq!(file.base, base.as_str());
                    prop_assert_eq!((file.collection, file.volume), (&collection[..], volume));
                }
                None => prop_assert!(false, "{}", name),
            }
        }
    }
}
