//! Which features are off while others are: what was declared of each, followed to its end.
//!
//! A circle is no fault: features that imply each other are off together.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::feature::{Feature, FeatureId};

/// For each feature what it implies and what it is implied by. Features that were learnt of later do neither.
#[derive(Debug, Default)]
pub(super) struct Implied {
    of_it: Vec<Box<[FeatureId]>>,
    by: Vec<Box<[FeatureId]>>,
}

impl Implied {
    pub(super) fn of(features: &[Arc<Feature>], ids: &HashMap<Arc<str>, FeatureId>) -> Self {
        let named = |feature: &Arc<Feature>| -> Vec<FeatureId> {
            feature.implies.iter().filter_map(|name| ids.get(name).copied()).collect()
        };
        let direct: Vec<_> = features.iter().map(named).collect();
        let mut by: Vec<Vec<FeatureId>> = vec![Vec::new(); features.len()];
        let mut of_it = Vec::with_capacity(features.len());
        for index in 0..features.len() {
            let all = followed(index, &direct);
            for id in &all {
                by[id.0 as usize].push(FeatureId(index as u32));
            }
            of_it.push(all.into_iter().collect());
        }
        Self { of_it, by: by.into_iter().map(Vec::into_boxed_slice).collect() }
    }

    pub(super) fn of_it(&self, id: FeatureId) -> &[FeatureId] {
        self.of_it.get(id.0 as usize).map_or(&[], |ids| ids)
    }

    pub(super) fn by(&self, id: FeatureId) -> &[FeatureId] {
        self.by.get(id.0 as usize).map_or(&[], |ids| ids)
    }
}

fn followed(from: usize, direct: &[Vec<FeatureId>]) -> BTreeSet<FeatureId> {
    let (mut all, mut next) = (BTreeSet::new(), direct[from].clone());
    while let Some(id) = next.pop() {
        if id.0 as usize != from && all.insert(id) {
            next.extend(&direct[id.0 as usize]);
        }
    }
    all
}
