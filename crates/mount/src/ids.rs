//! The filer's user and group numbers as local ones.

/// Pairs of a local number and the filer's; numbers without a pair stay as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdMap(Vec<(u32, u32)>);

impl IdMap {
    /// A map of pairs `(local, filer)`. The first pair with a number counts.
    pub fn new(pairs: Vec<(u32, u32)>) -> Self {
        Self(pairs)
    }

    /// The filer's number of the local `id`.
    pub fn to_filer(&self, id: u32) -> u32 {
        let pair = self.0.iter().find(|(local, _)| *local == id);
        pair.map_or(id, |(_, filer)| *filer)
    }

    /// The local number of the filer's `id`.
    pub fn to_local(&self, id: u32) -> u32 {
        let pair = self.0.iter().find(|(_, filer)| *filer == id);
        pair.map_or(id, |(local, _)| *local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_ids_change_and_others_stay() {
        let map = IdMap::new(vec![(1000, 0), (1001, 5)]);
        assert_eq!([0, 5, 7].map(|id| map.to_local(id)), [1000, 1001, 7]);
        assert_eq!([1000, 1001, 7].map(|id| map.to_filer(id)), [0, 5, 7]);
    }
}
