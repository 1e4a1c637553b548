//! The command line as sentences: what is understood, and what is refused in which words.

use super::*;
use clap::CommandFactory;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn the_definition_holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn a_run_takes_its_own_options_and_leaves_the_programs_alone() {
    let cli = parse(
        "tartarus run -t python --mem-mb 64 --ttl 10m -e A=1 -e B --heat hot -l team=ml \
         -m tenant=acme -- python3 -c print(1) --ttl x -o json",
    )
    .unwrap();
    assert_eq!(cli.format, Format::Table);
    let Command::Run(run) = cli.command else { panic!("not a run") };
    assert_eq!(run.template, "python");
    assert_eq!(run.ttl, Some(Duration::from_secs(600)));
    assert_eq!(run.env, ["A=1", "B"]);
    assert_eq!(run.label, [("team".to_owned(), "ml".to_owned())]);
    assert_eq!(run.command.join(" "), "python3 -c print(1) --ttl x -o json");
}

#[test]
fn the_dashes_before_the_program_may_be_left_out() {
    let cli = parse("tartarus run --priority 7 sh -c exit").unwrap();
    let Command::Run(run) = cli.command else { panic!("not a run") };
    assert_eq!((run.priority, run.command.join(" ")), (Some(7), "sh -c exit".to_owned()));
    assert_eq!(run.template, "host");
}

#[test]
fn a_list_takes_every_filter() {
    let cli = parse(
        "tartarus ps -s pending -s RUNNING --pool high_compute -l a=b,!c --since 1h -n 5 \
         -o wide",
    )
    .unwrap();
    assert_eq!(cli.format, Format::Wide);
    let Command::Ps(ps) = cli.command else { panic!("not ps") };
    assert_eq!(ps.status, [Status::Pending, Status::Running]);
    assert_eq!(ps.limit, 5);
}

#[test]
fn mistakes_are_usage_errors_that_say_what_to_write() {
    for (line, words) in [
        ("tartarus", "Usage"),
        ("tartarus fly", "unrecognized subcommand 'fly'"),
        ("tartarus run --ttl 30 -- true", "the unit is missing"),
        ("tartarus run --heat lava -- true", "give cold, warm, hot or inferno"),
        ("tartarus run --on-lost ignore -- true", "give retry or fail"),
        ("tartarus run -l team -- true", "write key=value"),
        ("tartarus run --mem-mb 64MB -- true", "give a whole number of MiB, such as 64"),
        ("tartarus run --cpu-milli 0.5 -- true", "give a whole number of thousandths of a core"),
        ("tartarus run --gpu one -- true", "give a whole number of GPUs"),
        ("tartarus run --priority high -- true", "give a whole number from 0 to 100"),
        ("tartarus run --max-attempts 1.5 -- true", "give a whole number of attempts"),
        ("tartarus logs x -n all", "give a whole number from 0 on"),
        ("tartarus level raise up", "give a whole number, such as 3"),
        ("tartarus policy restore p v2", "give a whole number, such as 3"),
        ("tartarus policy diff p v1 v2", "give a whole number, such as 3"),
        ("tartarus policy apply -f a --if-version v2", "give a whole number, such as 3"),
        ("tartarus heat apply -f a --if-version v2", "give a whole number, such as 3"),
        ("tartarus policy what-if -f a --until x", "give a whole number, the sequence of an entry"),
        ("tartarus audit verify x --receipt BAD", "such as 17-db14c33df246c2f1: what X-Tartarus"),
        ("tartarus audit export --overwrite", "--output"),
        ("tartarus run --detach --dry-run -- true", "cannot be used with"),
        ("tartarus ps -s done", "give one of pending, scheduled, running"),
        ("tartarus ps -n all", "give a whole number from 0 on"),
        ("tartarus ps --pool deep", "give one of standard, high_compute, quarantine"),
        ("tartarus ps -l a=b=c", "is no label value"),
        ("tartarus ps --since yesterday", "write a time in RFC 3339"),
        ("tartarus logs x --stream both", "give stdout or stderr"),
        ("tartarus events --after last", "give the id of an event"),
        ("tartarus events --run seven", "give the id of a run"),
        ("tartarus events -n 0", "give a whole number from 1 on"),
        ("tartarus run --require a=b=c -- true", "is no label value"),
        ("tartarus run --prefer a=b:lots -- true", "write SELECTOR:WEIGHT"),
        ("tartarus run --strategy random -- true", "give spread or pack"),
        ("tartarus node drain n1 --deadline 10", "the unit is missing"),
        ("tartarus node label n1 zone", "write key=value, or key-"),
        ("tartarus replay at", "required"),
        ("tartarus replay step seven", "give the id of a run"),
        ("tartarus why", "required"),
        ("tartarus why x --redis a:1 --file b", "cannot be used with"),
        ("tartarus ps --at yesterday", "give the sequence of an entry, or write a time"),
        ("tartarus queue pause --at 1", "unexpected argument"),
        ("tartarus replay at yesterday", "give the sequence of an entry, or write a time"),
        ("tartarus replay verify --redis a:1 --file b", "cannot be used with"),
        ("tartarus audit verify", "required"),
        ("tartarus audit reveal 4.0", "--show"),
        ("tartarus audit reveal 4.0 --show all", "env,stdin"),
        ("tartarus kill", "required"),
        ("tartarus policy apply", "--file"),
        ("tartarus heat apply", "--file"),
        ("tartarus quarantine list --status lost", "give one of waiting, running, ended"),
        ("tartarus quarantine release", "required"),
        ("tartarus policy what-if --since 7d", "--file"),
        ("tartarus policy what-if -f a --max-flips few", "give a number such as 10, or a share"),
        ("tartarus policy what-if -f a --max-newly-rejected 101%", "give 0% to 100%"),
        ("tartarus policy what-if -f a --redis b:1 --export c", "cannot be used with"),
        ("tartarus queue redrive", "required"),
        ("tartarus queue redrive x --all", "cannot be used with"),
        ("tartarus queue redrive x --tenant acme", "cannot be used with"),
        ("tartarus queue dead -n many", "give a whole number from 0 on"),
        ("tartarus policy diff", "NAME"),
        ("tartarus policy diff p 1 -f p.yaml", "cannot be used with"),
        ("tartarus policy restore p", "VERSION"),
        ("tartarus ps -o xml", "possible values: table, json, yaml, wide"),
        ("tartarus completion csh", "possible values"),
    ] {
        let error = parse(line).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
        assert!(error.to_string().contains(words), "{line}: {error}");
    }
}
