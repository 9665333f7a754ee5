//! A log that grows too long names whole directories instead of what is in them. It never forgets.

use super::{Kind, Region};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// Makes at most `limit` (at least one) regions of these, which cover all of them: the directories with the most
/// entries become subtrees first, the deeper one of two that are alike.
pub(super) fn reduce(mut regions: BTreeSet<Region>, limit: usize) -> BTreeSet<Region> {
    while regions.len() > limit.max(1) {
        let mut children: HashMap<&Path, usize> = HashMap::new();
        for parent in regions.iter().filter_map(|r| r.path.parent()) {
            *children.entry(parent).or_default() += 1;
        }
        let mut parents: Vec<(usize, usize, PathBuf)> =
            children.into_iter().map(|(p, n)| (n, p.components().count(), p.to_path_buf())).collect();
        parents.sort_by(|a, b| b.cmp(a));
        // Where no directory has two of them, the deepest ones go up by one.
        let alone = parents.first().is_none_or(|(n, ..)| *n < 2);
        if alone {
            parents.sort_by_key(|(_, depth, _)| std::cmp::Reverse(*depth));
        }
        let (mut left, mut chosen) = (regions.len(), BTreeSet::new());
        for (n, _, parent) in parents {
            if left <= limit || (!alone && n < 2) {
                break;
            }
            left -= n.saturating_sub(1);
            chosen.insert(Region::subtree(parent));
            if alone {
                break;
            }
        }
        if chosen.is_empty() {
            return BTreeSet::from([Region::whole()]);
        }
        regions.extend(chosen);
        regions = minimal(regions);
    }
    regions
}

/// Without those that a subtree among them covers.
pub(super) fn minimal(regions: BTreeSet<Region>) -> BTreeSet<Region> {
    let subtrees: std::collections::HashSet<PathBuf> =
        regions.iter().filter(|r| r.kind == Kind::Subtree).map(|r| r.path.clone()).collect();
    let covered = |r: &Region| {
        let own = usize::from(r.kind == Kind::Subtree);
        r.path.ancestors().skip(own).any(|p| subtrees.contains(p))
    };
    regions.into_iter().filter(|r| !covered(r)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn covers(a: &Region, b: &Region) -> bool {
        a == b || (a.kind == Kind::Subtree && b.path.starts_with(&a.path))
    }

    #[test]
    fn the_fullest_directory_goes_first() {
        let mut all: BTreeSet<_> = (0..20).map(|i| Region::one(format!("full/{i}"))).collect();
        all.extend(["a/b/c", "d"].map(Region::one));
        let left = reduce(all, 5);
        assert_eq!(
            left,
            ["a/b/c", "d"].map(Region::one).into_iter().chain([Region::subtree("full")]).collect()
        );
    }

    #[test]
    fn a_single_region_is_the_least() {
        let all = BTreeSet::from([Region::one("a/b"), Region::one("c/d"), Region::one("")]);
        assert_eq!(reduce(all, 0), BTreeSet::from([Region::whole()]));
    }

    proptest! {
        #[test]
        fn nothing_is_forgotten(paths in prop::collection::vec("[ab](/[abc]){0,5}", 1..60), limit in 1usize..20) {
            let all: BTreeSet<_> = paths.iter().map(Region::one).collect();
            let left = reduce(all.clone(), limit);
            prop_assert!(left.len() <= limit);
            prop_assert!(all.iter().all(|r| left.iter().any(|l| covers(l, r))));
        }
    }
}
