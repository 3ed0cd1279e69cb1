//! Whatever is asked for in whatever order: the sum stays below the ceiling.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::{Account, Group, Holder, LEVELS, Ledger, Look, Share};

const CEILING: usize = 10_000;
const BASE: usize = 500;

fn ledger() -> Ledger {
    Ledger::new(CEILING, BASE, |holder| Share {
        // More than fits together: the ceiling has to hold by itself.
        most: 4000 + 500 * holder as usize,
        least: 300,
    })
}

#[derive(Debug, Clone)]
enum Step {
    TryTake(usize, usize),
    Give(usize),
    Look(usize, u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..Holder::ALL.len(), 0_usize..3000).prop_map(|(who, bytes)| Step::TryTake(who, bytes)),
        3 => (0_usize..64).prop_map(Step::Give),
        1 => (0_usize..12_000, 0_u64..3).prop_map(|(resident, oom)| Step::Look(resident, oom)),
    ]
}

proptest! {
    #[test]
    fn the_sum_never_exceeds_the_ceiling(steps in vec(step(), 1..400)) {
        let ledger = ledger();
        let mut taken: Vec<(usize, usize)> = Vec::new();
        for step in steps {
            match step {
                Step::TryTake(who, bytes) => {
                    let account = ledger.account(Holder::ALL[who]);
                    let (limit, used) = (account.limit(), ledger.used());
                    if account.try_take(bytes) {
                        taken.push((who, bytes));
                        prop_assert!(account.held() <= limit);
                        // Nothing can be taken at any time.
                        prop_assert!(ledger.used() <= CEILING || bytes == 0);
                    } else {
                        prop_assert!(account.held() + bytes > limit || used + bytes > CEILING);
                        prop_assert_eq!(ledger.used(), used, "a refusal leaves nothing behind");
                    }
                }
                Step::Give(index) if !taken.is_empty() => {
                    let (who, bytes) = taken.swap_remove(index % taken.len());
                    ledger.account(Holder::ALL[who]).give(bytes);
                }
                Step::Give(_) => {}
                Step::Look(resident, oom) => {
                    let group = Some(Group { used: 0, max: 1 << 40, oom });
                    ledger.observe(&Look { resident, group, stalled: 0.0 });
                    let held: usize = Holder::ALL.iter().map(|who| ledger.account(*who).held()).sum();
                    prop_assert_eq!(ledger.used(), held + resident.saturating_sub(held).max(BASE));
                }
            }
            for (index, holder) in Holder::ALL.into_iter().enumerate() {
                let all = taken.iter().filter(|(who, _)| *who == index);
                let sum: usize = all.map(|(_, bytes)| bytes).sum();
                prop_assert_eq!(ledger.account(holder).held(), sum);
            }
        }
    }
}

#[test]
fn many_threads_take_and_give_and_none_gets_past_the_ceiling() {
    let ledger = ledger();
    std::thread::scope(|scope| {
        for seed in 0..8_usize {
            let ledger = &ledger;
            scope.spawn(move || {
                let account = ledger.account(Holder::ALL[seed % Holder::ALL.len()]);
                for round in 0..20_000 {
                    let bytes = (round * 37 + seed * 101) % 1500;
                    if account.try_take(bytes) {
                        assert!(ledger.used() <= CEILING);
                        account.give(bytes);
                    }
                }
            });
        }
    });
    assert_eq!(ledger.used(), BASE);
}

#[test]
fn pressure_lowers_limits_to_the_floor_and_room_raises_them() {
    let ledger = ledger();
    let reads = ledger.account(Holder::Reads);
    assert_eq!(reads.limit(), 4000);
    let full = Look {
        resident: CEILING,
        ..Look::default()
    };
    assert_eq!(ledger.observe(&full), 4);
    assert_eq!((reads.limit(), reads.ease()), (300 + 3700 / 16 * 12, 12));
    for _ in 0..4 {
        ledger.observe(&full);
    }
    assert_eq!(reads.limit(), 300);
    assert!(!reads.try_take(1), "the program itself takes everything");
    for _ in 0..LEVELS {
        assert_eq!(ledger.observe(&Look::default()), -1);
    }
    assert_eq!(reads.limit(), 4000);
}

#[test]
fn what_could_not_wait_leaves_less_for_others() {
    let ledger = ledger();
    let metadata = ledger.account(Holder::Metadata);
    let weight = metadata.weigh(CEILING);
    assert!(metadata.is_over() && ledger.account(Holder::Reads).is_over());
    assert!(!ledger.account(Holder::Reads).try_take(1));
    drop(weight);
    assert!(ledger.account(Holder::Reads).try_take(1));
    let mut weight = metadata.weigh(10);
    weight.set(5);
    assert_eq!((metadata.held(), weight.bytes()), (5, 5));
    metadata.set(100);
    assert_eq!(metadata.held(), 100);
}

#[test]
fn without_a_ledger_nothing_is_refused() {
    let account = Account::unlimited();
    assert!(account.try_take(usize::MAX / 2) && !account.is_over());
    assert_eq!(account.limit(), usize::MAX);
}
