use proptest::prelude::*;

use super::*;
use crate::swap::Swap;

const START: u64 = 1024;
const LEN: usize = 256;

#[derive(Debug, Clone)]
enum Step {
    Write(u64, usize, u8),
    Cut(u64),
    SwapOut,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0u64..LEN as u64, 0usize..80, any::<u8>()).prop_map(|(at, len, byte)| {
            Step::Write(at, len.min(LEN - at as usize), byte)
        }),
        1 => (0u64..LEN as u64).prop_map(Step::Cut),
        1 => Just(Step::SwapOut),
    ];
    proptest::collection::vec(step, 0..40)
}

fn seen(parts: Vec<(u64, Bytes)>) -> Vec<Option<u8>> {
    let mut seen = vec![None; LEN];
    for (start, part) in parts {
        for (index, byte) in part.iter().enumerate() {
            let place = &mut seen[(start - START) as usize + index];
            assert!(place.is_none(), "two parts for one byte");
            *place = Some(*byte);
        }
    }
    seen
}

proptest! {
    #[test]
    fn a_block_is_what_a_plain_file_would_be(
        steps in steps(), from in 0u64..300, len in 0u64..300,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let swap = Arc::new(Swap::new(dir.path().to_owned(), 1 << 20, LEN));
        let budget = Arc::new(Budget::new(1 << 20, LEN, ledger::Account::unlimited()));
        let mut block = Block::new(START, LEN);
        let mut model: Vec<Option<u8>> = vec![None; LEN];
        for step in steps {
            match step {
                Step::Write(at, len, byte) => {
                    block.write(START + at, &vec![byte; len], &budget).unwrap();
                    model[at as usize..at as usize + len].fill(Some(byte));
                }
                Step::Cut(at) => {
                    block.truncate(START + at);
                    model[at as usize..].fill(None);
                }
                Step::SwapOut => block.swap_out(swap.slot().unwrap().unwrap()).unwrap(),
            }
            prop_assert_eq!(block.is_full(), model.iter().all(Option::is_some));
            prop_assert_eq!(block.is_empty(), model.iter().all(Option::is_none));
        }
        let (from, to) = (START + from, START + from + len);
        let want: Vec<Option<u8>> = (START..)
            .zip(&model)
            .map(|(at, byte)| byte.filter(|_| (from..to).contains(&at)))
            .collect();
        prop_assert_eq!(seen(block.within(from, to).unwrap()), want.clone());
        let sealed = block.seal();
        prop_assert_eq!(seen(sealed.within(from, to).unwrap()), want);
        let runs = (0..sealed.count()).map(|index| sealed.run(index).unwrap()).collect();
        prop_assert_eq!(seen(runs), model);
        drop(sealed);
        prop_assert_eq!(budget.held(), 0);
        prop_assert_eq!(swap.held(), 0);
    }
}
