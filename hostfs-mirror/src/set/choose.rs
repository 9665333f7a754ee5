//! A split brain, decided by the administrator: path by path, from the logs of what each leg thinks that the other missed.

use super::cold::{Cold, ColdError, ColdLeg};
use super::compare::{Difference, compare};
use super::copy::{Copier, Report};
use super::limit::Limit;
use super::recover;
use super::side::Side;
use super::split::Claim;
use crate::state::{Kind, MissedLog, Region, Uuid};
use block_device::Observer;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A path at which legs went different ways.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Disputed {
    /// Where.
    pub path: PathBuf,
    /// Whether it stands for everything beneath too.
    pub subtree: bool,
    /// What each leg has there.
    pub copies: Vec<Copy>,
    /// How the first two differ.
    pub differences: Vec<Difference>,
}

/// What one leg has.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Copy {
    /// The leg.
    pub leg: PathBuf,
    /// Whether there is anything.
    pub there: bool,
    /// Its size.
    pub size: u64,
    /// When it was modified, in ns since 1970.
    pub mtime: i64,
}

type Result<T> = std::result::Result<T, ColdError>;

impl Cold {
    /// The legs that each claim to be right: the live ones, and those that went on alone.
    fn parties(&self) -> Vec<&ColdLeg> {
        let alone = self.legs().iter().filter(|l| l.claim == Claim::WentOnAlone);
        self.live().into_iter().chain(alone).collect()
    }

    /// All that parties wrote down that another one missed; after a crash, their intent maps too.
    fn disputed_regions(&self) -> Result<BTreeSet<Region>> {
        let mut all = BTreeSet::new();
        for a in self.parties() {
            for b in self.parties().iter().filter(|b| b.uuid() != a.uuid()) {
                all.extend(MissedLog::read(&a.dir, b.uuid()).map_err(a.failed())?.unwrap_or_default());
            }
            let marks = a.marks().cloned().unwrap_or_default();
            all.extend(marks.regions.iter().map(|r| Region::subtree(&r.path)));
            if marks.damaged > 0 {
                all.insert(Region::whole());
            }
        }
        Ok(all)
    }

    /// Where the parties differ. Paths at which they are the same by now are settled, and taken out of the logs, as are directories that
    /// differ in nothing but their times.
    ///
    /// # Errors
    /// [`ColdError`].
    pub fn disputed(&self) -> Result<Vec<Disputed>> {
        let mut found = Vec::new();
        for region in self.disputed_regions()? {
            self.look(&region.path, region.kind != Kind::One, &mut found)?;
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        found.dedup_by(|a, b| a.path == b.path);
        Ok(found)
    }

    fn look(&self, path: &Path, deep: bool, found: &mut Vec<Disputed>) -> Result<()> {
        let parties = self.parties();
        let sides: Vec<Side<'_>> = parties.iter().map(|l| l.side()).collect();
        let mut objects = Vec::new();
        for side in &sides {
            objects.push(side.find(path)?);
        }
        let mut differences = BTreeSet::new();
        for side in &sides[1..] {
            differences.extend(compare(&sides[0], side, path)?);
        }
        let all_dirs = objects.iter().all(|o| o.as_ref().is_some_and(|o| o.is_dir()));
        if all_dirs {
            differences.remove(&Difference::Mtime);
        }
        if !differences.is_empty() {
            let copy = |(side, o): (&Side<'_>, &Option<super::side::Object>)| Copy {
                leg: side.leg.name().to_owned(),
                there: o.is_some(),
                size: o.as_ref().map_or(0, |o| o.size()),
                mtime: o.as_ref().map_or(0, |o| o.mtime()),
            };
            let copies = sides.iter().zip(&objects).map(copy).collect();
            let subtree = !all_dirs && objects.iter().flatten().any(|o| o.is_dir());
            found.push(Disputed {
                path: path.to_owned(),
                subtree,
                copies,
                differences: differences.into_iter().collect(),
            });
        }
        if deep && all_dirs {
            let mut names = BTreeSet::new();
            for (side, object) in sides.iter().zip(objects.iter().flatten()) {
                names.extend(side.names(path, object)?);
            }
            for name in names {
                self.look(&path.join(name), true, found)?;
            }
        }
        Ok(())
    }

    /// Gives all parties what one of them has at a path (everything that is disputed, for the root), and joins them when nothing is disputed
    /// any more. What is left. Without a split brain, it decides what no checksum can.
    ///
    /// # Errors
    /// [`ColdError`]; killed in between, the path is disputed still.
    pub fn choose(&mut self, path: &Path, leg: Uuid, observer: &dyn Observer) -> Result<(Report, usize)> {
        let mut report = Report::default();
        let split = self.is_split();
        let mut chosen = Vec::new();
        if split {
            chosen = self.disputed()?.into_iter().filter(|d| d.path.starts_with(path)).collect();
        } else {
            self.recover(observer)?;
            self.look(path, true, &mut chosen)?;
        }
        self.forget_sums(&chosen)?;
        {
            let right = self.parties().into_iter().find(|l| l.uuid() == leg);
            let right = right.ok_or_else(|| ColdError::NoSuchLeg(leg.to_string()))?;
            let from = [right.side()];
            let mut limit = Limit::new(observer, "copying", None, 0);
            for to in self.parties().into_iter().filter(|l| l.uuid() != leg) {
                let mut copier =
                    Copier::new(&from, to.side(), self.state().generation, &mut limit, &mut report);
                for disputed in &chosen {
                    let region = Region {
                        path: disputed.path.clone(),
                        kind: if disputed.subtree { Kind::Subtree } else { Kind::One },
                    };
                    let done = copier.region(&region);
                    copier.note(done)?;
                }
                recover::settle(&to.side())?;
            }
        }
        if !report.undecided.is_empty() {
            return Err(ColdError::Undecided(report.undecided));
        }
        let left = if split { self.disputed()?.len() } else { 0 };
        if split && left == 0 {
            self.join(leg)?;
        }
        Ok((report, left))
    }

    /// Who chooses overrules the checksums.
    fn forget_sums(&self, chosen: &[Disputed]) -> Result<()> {
        for leg in self.parties() {
            let side = leg.side();
            for d in chosen {
                if let Some(object) = side.find(&d.path)?.filter(super::side::Object::is_file) {
                    let key = side.key(&d.path, &object)?;
                    side.manifest.lock().remove(&[key]).map_err(leg.failed())?;
                }
            }
        }
        Ok(())
    }

    /// Nothing is disputed any more: the parties are one set again. Times of directories are those of the last choice.
    fn join(&mut self, last: Uuid) -> Result<()> {
        let parties: Vec<Uuid> = self.parties().iter().map(|l| l.uuid()).collect();
        self.level_directories(last)?;
        let highest = self.legs().iter().map(|l| l.state().generation).max().unwrap_or(0);
        self.clear_marks()?;
        self.rejoin(&parties, highest)?;
        for leg in self.live() {
            for other in &parties {
                MissedLog::delete(&leg.dir, *other).map_err(leg.failed())?;
            }
        }
        Ok(())
    }

    fn level_directories(&self, last: Uuid) -> Result<()> {
        let parties = self.parties();
        let Some(right) = parties.iter().find(|l| l.uuid() == last) else { return Ok(()) };
        let from = [right.side()];
        let (mut report, mut limit) =
            (Report::default(), Limit::new(&block_device::Unobserved, "copying", None, 0));
        for to in parties.iter().filter(|l| l.uuid() != last) {
            let mut copier = Copier::new(&from, to.side(), self.state().generation, &mut limit, &mut report);
            for region in self.disputed_regions()? {
                if right.side().find(&region.path)?.is_some_and(|o| o.is_dir()) {
                    copier.region(&Region { kind: region.kind, ..region })?;
                }
            }
        }
        Ok(())
    }
}
