//! Samples of one number, and what is said of them.

/// Which of two values is the better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Throughput.
    Higher,
    /// Latency, CPU time, memory.
    Lower,
}

impl Better {
    /// How many times better `ours` is than `theirs`; below 1 it is worse.
    #[must_use]
    pub fn ratio(self, ours: f64, theirs: f64) -> f64 {
        match self {
            Self::Higher => ours / theirs,
            Self::Lower => theirs / ours,
        }
    }
}

/// What the rounds measured, in the order they were run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    samples: Vec<f64>,
}

impl Series {
    /// Adds the sample of one more round.
    pub fn push(&mut self, sample: f64) {
        self.samples.push(sample);
    }

    /// All of them.
    #[must_use]
    pub fn samples(&self) -> &[f64] {
        &self.samples
    }

    /// The middle one, or the mean of the two in the middle. None without samples.
    #[must_use]
    pub fn median(&self) -> Option<f64> {
        let sorted = self.sorted();
        let upper = *sorted.get(sorted.len() / 2)?;
        let lower = sorted[(sorted.len() - 1) / 2];
        Some(lower.midpoint(upper))
    }

    /// The best one: what the code can do when nothing else disturbs. None without samples.
    #[must_use]
    pub fn best(&self, better: Better) -> Option<f64> {
        let sorted = self.sorted();
        match better {
            Better::Higher => sorted.last().copied(),
            Better::Lower => sorted.first().copied(),
        }
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(samples: &[f64]) -> Series {
        Series {
            samples: samples.to_vec(),
        }
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(of(&[]).median(), None);
        assert_eq!(of(&[3.0]).median(), Some(3.0));
        assert_eq!(of(&[9.0, 1.0, 2.0]).median(), Some(2.0));
        assert_eq!(of(&[9.0, 1.0, 2.0, 4.0]).median(), Some(3.0));
    }

    #[test]
    fn the_best_depends_on_what_is_measured() {
        let series = of(&[2.0, 5.0, 1.0]);
        assert_eq!(series.best(Better::Higher), Some(5.0));
        assert_eq!(series.best(Better::Lower), Some(1.0));
    }

    #[test]
    fn a_ratio_above_one_is_always_better() {
        assert_eq!(Better::Higher.ratio(300.0, 100.0), 3.0);
        assert_eq!(Better::Lower.ratio(100.0, 300.0), 3.0);
    }
}
