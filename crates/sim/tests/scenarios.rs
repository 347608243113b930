//! The scenario files of this crate can be read, and run while they are small.

use std::{fs, path::Path};

use samara_sim::swarm::{ScenarioFile, Sharing};

#[test]
fn every_scenario_file_can_be_read_and_runs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let mut file: ScenarioFile = text
            .parse()
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        file.scenario().unwrap();
        // The same, small.
        file.peers = file.peers.min(20);
        file.content.chunks = 64;
        let outcome = file.scenario().unwrap().run();
        // A publisher may leave before somebody had what went with others.
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let complete = outcome.is_complete() || name == "publisher-leaves.toml";
        assert!(complete, "{name}");
        names.push(name);
    }
    assert!(names.len() >= 5, "{names:?}");
}

#[test]
fn overhead_takes_its_part_of_every_link() {
    let run = |overhead| {
        let mut file = ScenarioFile {
            sharing: Sharing::Queue,
            ..ScenarioFile::default()
        };
        file.content.chunks = 128;
        file.link.overhead = overhead;
        file.scenario().unwrap().run()
    };
    let (none, some) = (run(0.0), run(10.0));
    assert_eq!(none.bound, some.bound);
    let slower = some.last() / none.last();
    assert!((1.08..1.13).contains(&slower), "{slower}");
}
