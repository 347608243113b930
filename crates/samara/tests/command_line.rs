//! What can be told about the binary before any engine runs: help, mistakes,
//! and which configuration counts.

use std::{
    fs,
    process::{Command, Output},
};

fn samara(args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_samara"));
    command.args(args).env("HOME", "/nonexistent");
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("SAMARA_")) {
        command.env_remove(key);
    }
    command.envs(env.iter().copied()).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn help_is_an_answer_and_no_command_is_a_mistake() {
    let help = samara(&["help"], &[]);
    assert!(help.status.success());
    let text = String::from_utf8(help.stdout).unwrap();
    for part in [
        "Move files now",
        "Publish:",
        "demo",
        "wan_upload",
        "--data-dir",
    ] {
        assert!(text.contains(part), "{part}");
    }
    assert_eq!(samara(&[], &[]).status.code(), Some(2));
    assert!(samara(&["--version"], &[]).status.success());
    for command in ["share", "get", "subscribe", "id", "demo"] {
        assert!(
            samara(&[command, "--help"], &[]).status.success(),
            "{command}"
        );
    }
}

#[test]
fn a_mistake_is_one_event_for_scripts() {
    let output = samara(&["--json", "get"], &[]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stdout).unwrap();
    let event: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!(event["event"], "error");
    assert_eq!(event["kind"], "usage");
}

#[test]
fn the_option_goes_before_the_environment_and_the_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    for name in ["by-option.toml", "by-environment.toml", "config.toml"] {
        fs::write(path(name), "speed = 1\n").unwrap();
    }
    let (option, environment) = (path("by-option.toml"), path("by-environment.toml"));
    let data = dir.path().to_str().unwrap();
    for (args, env, named) in [
        (
            vec!["--config", &option, "status"],
            vec![("SAMARA_CONFIG", &*environment)],
            "by-option",
        ),
        (
            vec!["status"],
            vec![("SAMARA_CONFIG", &*environment)],
            "by-environment",
        ),
        (
            vec!["status"],
            vec![("SAMARA_DATA_DIR", data)],
            "config.toml",
        ),
        (
            vec!["status", "--data-dir", data],
            vec![("SAMARA_DATA_DIR", "/elsewhere")],
            "config.toml",
        ),
    ] {
        let output = samara(&args, &env);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let text = stderr(&output);
        assert!(
            text.starts_with("samara: ") && text.lines().count() == 1,
            "{text}"
        );
        assert!(
            text.contains(named) && text.contains("unknown field `speed`"),
            "{text}"
        );
    }
}

#[test]
fn a_global_option_after_the_command_goes_before_the_environment() {
    // The value is refused where it is read, so the message shows which one counted.
    let output = samara(
        &["status", "--http", "bad-option"],
        &[("SAMARA_HTTP", "off")],
    );
    assert!(stderr(&output).contains("bad-option"));
    let output = samara(&["status"], &[("SAMARA_HTTP", "bad-environment")]);
    assert!(stderr(&output).contains("bad-environment"));
}

#[test]
fn json_by_environment() {
    let env = [
        ("SAMARA_JSON", "1"),
        ("SAMARA_CONFIG", "/nonexistent/c.toml"),
    ];
    let output = samara(&["status"], &env);
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .starts_with("{\"event\":\"error\"")
    );
    let env = [
        ("SAMARA_JSON", "0"),
        ("SAMARA_CONFIG", "/nonexistent/c.toml"),
    ];
    assert!(samara(&["status"], &env).stdout.is_empty());
}

#[test]
fn who_looks_into_a_directory_that_is_none_makes_none() {
    let dir = tempfile::tempdir().unwrap();
    let mistyped = dir.path().join("dota");
    let data = mistyped.to_str().unwrap();
    for look in [
        &["status"][..],
        &["peers"],
        &["channel", "list"],
        &["explain", "club"],
        &["members", "club"],
    ] {
        let args = [look, &["--data-dir", data]].concat();
        let output = samara(&args, &[]);
        assert_eq!(output.status.code(), Some(14), "{look:?}");
        assert!(stderr(&output).contains(data), "{}", stderr(&output));
        let by_environment = samara(look, &[("SAMARA_DATA_DIR", data)]);
        assert_eq!(by_environment.status.code(), Some(14), "{look:?}");
        assert!(!mistyped.exists(), "{look:?}");
    }
    // Who begins there is not held up, and then there is something to look at.
    for args in [&["channel", "create", "club"][..], &["status"]] {
        let output = samara(&[args, &["--data-dir", data]].concat(), &[]);
        assert!(output.status.success(), "{}", stderr(&output));
    }
}
