//! Chains of several processes.

use kiln_solver::{ChainError, StepError};

use super::Case;
use super::fixture::Fixture;

pub(crate) const CASES: &[Case] = kiln_testbed::cases![
    process_of_a_chain_finds_the_files_of_the_one_before
    failed_process_of_a_chain_leaves_the_layers_before_it
    process_finds_a_home_and_the_proxies_that_it_does_not_set_itself
];

fn process_of_a_chain_finds_the_files_of_the_one_before(fixture: &Fixture) {
    let (result, events) = fixture.run(&[
        "echo one > /first; echo from one",
        "cat /first; mv /first /second; echo from two >&2",
    ]);
    let made = result.unwrap();
    let [first, second] = made.as_slice() else {
        panic!("a layer for each process: {made:?}");
    };
    assert_eq!(fixture.text(&[*first], "/first").unwrap(), "one\n");
    assert_eq!(fixture.text(&[*second], "/second").unwrap(), "one\n");
    let both = [*first, *second];
    assert_eq!(fixture.text(&both, "/first"), None, "it was moved");
    assert_eq!(events.begun, [0, 1]);
    let [(0, of_first), (1, of_second)] = events.output.as_slice() else {
        panic!("each process is told of by its position: {events:?}");
    };
    assert_eq!(of_first, "from one\n");
    // The two streams may overtake each other.
    assert!(of_second.contains("one\n"), "{of_second}");
    assert!(of_second.contains("from two\n"), "{of_second}");
}

fn failed_process_of_a_chain_leaves_the_layers_before_it(fixture: &Fixture) {
    let (result, events) = fixture.run(&[
        "echo one > /first",
        "echo two > /second; echo about to fail; exit 7",
        "echo three",
    ]);
    let ChainError { made, error } = result.unwrap_err();
    let [first] = made.as_slice() else {
        panic!("only the first process succeeded: {made:?}");
    };
    assert_eq!(fixture.text(&[*first], "/first").unwrap(), "one\n");
    assert_eq!(fixture.text(&[*first], "/second"), None);
    let StepError::Process { command, code, .. } = error else {
        panic!("the second process ended badly: {error:?}");
    };
    assert_eq!(code, 7);
    assert!(command.contains("exit 7"), "{command}");
    assert_eq!(events.begun, [0, 1], "the third does not begin");
    let said = [(1, "about to fail\n".to_owned())];
    assert_eq!(events.output, said);
}

fn process_finds_a_home_and_the_proxies_that_it_does_not_set_itself(fixture: &Fixture) {
    let (result, events) = fixture.run(&["echo $HOME $http_proxy $PATH"]);
    result.unwrap();
    let said = (0, "/root http://proxy.example:3128 /bin\n".to_owned());
    assert_eq!(events.output, [said]);
}
