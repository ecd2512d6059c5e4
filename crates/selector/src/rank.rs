//! Which of two pools that fit is taken first.
//!
//! Most free space first, so that pools fill evenly; equal ones by id, so that the choice depends
//! on nothing but its inputs.

use std::cmp::Ordering;

use osds_model::Pool;

/// Orders the better pool first.
pub(crate) fn before(a: &Pool, b: &Pool) -> Ordering {
    b.free().cmp(&a.free()).then(a.id.cmp(&b.id))
}

#[cfg(test)]
mod tests {
    use osds_model::PoolId;

    use super::*;
    use crate::fixtures;

    #[test]
    fn most_free_first_then_lowest_id() {
        let (a, b) = (fixtures::pool(1, 100), fixtures::pool(2, 200));
        assert_eq!(before(&b, &a), Ordering::Less);
        let c = Pool { id: PoolId::from_u128(3), ..a.clone() };
        assert_eq!(before(&a, &c), Ordering::Less);
        assert_eq!(before(&a, &a), Ordering::Equal);
    }
}
