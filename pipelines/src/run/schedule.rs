//! Who is told to finish when. Pure.

use super::handle::StageState;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Wait,
    /// All that these stages read from is done.
    Finish(Vec<usize>),
    /// Every stage is done.
    Drained,
    /// This stage ended otherwise than by being done.
    Failed(usize),
}

/// What a stage reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// The stages whose output it is.
    pub upstreams: Vec<usize>,
    /// Whether there is more that never ends.
    pub without_end: bool,
}

/// `reads` has what each stage reads.
pub fn decide(states: &[StageState], reads: &[Reads]) -> Decision {
    if let Some(failed) =
        states.iter().position(|state| matches!(state, StageState::Failed | StageState::Stopped))
    {
        return Decision::Failed(failed);
    }
    if states.iter().all(|state| *state == StageState::Done) {
        return Decision::Drained;
    }
    let is_done = |stage: &usize| states.get(*stage) == Some(&StageState::Done);
    let may_finish = |&stage: &usize| {
        states.get(stage).is_some_and(|state| {
            matches!(state, StageState::Starting | StageState::Running | StageState::Retrying)
        }) && reads.get(stage).is_some_and(|reads| !reads.without_end && reads.upstreams.iter().all(is_done))
    };
    let finish: Vec<usize> = (0..states.len()).filter(may_finish).collect();
    if finish.is_empty() { Decision::Wait } else { Decision::Finish(finish) }
}

#[cfg(test)]
mod tests {
    use super::StageState::{Done, Failed, Finishing, Running};
    use super::*;

    fn chain() -> Vec<Reads> {
        let reads = |upstreams: &[usize]| Reads { upstreams: upstreams.to_vec(), without_end: false };
        vec![reads(&[]), reads(&[0]), reads(&[1]), reads(&[0, 2])]
    }

    #[test]
    fn a_stage_is_told_to_finish_when_all_it_reads_from_is_done() {
        assert_eq!(decide(&[Finishing, Running, Running, Running], &chain()), Decision::Wait);
        assert_eq!(decide(&[Done, Running, Running, Running], &chain()), Decision::Finish(vec![1]));
        assert_eq!(
            decide(&[Done, Finishing, Running, Running], &chain()),
            Decision::Wait,
            "it has been told"
        );
        assert_eq!(decide(&[Done, Done, Done, Running], &chain()), Decision::Finish(vec![3]));
        assert_eq!(decide(&[Done, Done, Done, Done], &chain()), Decision::Drained);
    }

    #[test]
    fn one_failure_ends_it() {
        assert_eq!(decide(&[Done, Failed, Running, Running], &chain()), Decision::Failed(1));
    }

    #[test]
    fn a_stage_whose_input_has_no_end_goes_on_and_those_behind_it() {
        let mut chain = chain();
        chain[2].without_end = true;
        assert_eq!(decide(&[Done, Done, Running, Running], &chain), Decision::Wait);
    }

    #[test]
    fn a_stage_that_reads_from_no_stage_finishes_at_once() {
        assert_eq!(decide(&[Running], &[Reads::default()]), Decision::Finish(vec![0]));
        assert_eq!(decide(&[], &[]), Decision::Drained);
    }
}
