//! The policies under `examples/policies`, with every request that stands beside them.

use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::{Value, json};
use tests::{House, http::id};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/policies")
}

fn yaml(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn names() -> Vec<String> {
    let files = std::fs::read_dir(examples()).expect("a folder of examples");
    let files = files.map(|file| file.expect("a file").file_name().into_string().expect("UTF-8"));
    let policies = files.filter_map(|file| file.strip_suffix(".yaml").map(str::to_owned));
    let mut names: Vec<String> = policies.filter(|name| !name.ends_with(".requests")).collect();
    names.sort();
    names
}

/// Puts the policy as it stands in its file, and the templates that its requests name.
async fn enact(house: &House, name: &str, requests: &Value) {
    let text = std::fs::read_to_string(examples().join(format!("{name}.yaml"))).expect("a policy");
    let put = house.api.request(Method::PUT, &format!("/v1/policies/{name}"));
    house.api.send(put.header("content-type", "application/yaml").body(text)).await.expect(201);
    for case in requests.as_array().expect("a list") {
        let template = case["request"]["template"].as_str().expect("a template");
        let path = format!("/v1/templates/{template}");
        house.api.put(&path, &json!({"rootfs": {"host": true}})).await;
    }
}

#[tokio::test]
async fn each_example_gives_each_request_the_verdict_that_stands_beside_it() {
    let house = House::memory().await;
    let quarantine = "tartarus.io/typhon=true";
    let _agent =
        house.agent("q1").labels(quarantine).capacity(64_000, 65_536).start(&house.api).await;
    let names = names();
    assert_eq!(names.len(), 5, "{names:?}");
    for name in names {
        let requests = yaml(&examples().join(format!("{name}.requests.yaml")));
        enact(&house, &name, &requests).await;
        let cases = requests.as_array().expect("a list");
        for verdict in ["accept", "quarantine", "reject"] {
            assert!(cases.iter().any(|c| c["verdict"] == verdict), "{name} has no {verdict}");
        }
        for case in cases {
            let answer = house.api.post("/v1/runs", &case["request"]).await;
            let what = format!("{name}, {}: {answer}", case["name"]);
            let run_id = match case["verdict"].as_str() {
                Some("reject") => {
                    assert_eq!(answer.status, 403, "{what}");
                    answer.json()["run_id"].as_str().expect("the refusal is a run").to_owned()
                }
                _ => {
                    assert_eq!(answer.status, 202, "{what}");
                    let run = answer.json();
                    assert_eq!(run["verdict"], case["verdict"], "{what}");
                    assert_eq!(run["quarantined"], case["verdict"] == "quarantine", "{what}");
                    id(&run)
                }
            };
            let why = house.api.get(&format!("/v1/runs/{run_id}/explain")).await.expect(200).json();
            assert_eq!((&why["policy"]["name"], &why["verdict"]), (&json!(name), &case["verdict"]));
            let said = why["judges"].to_string();
            let words = case["says"].as_str().unwrap_or_default();
            assert!(said.contains(words), "{what}: {words:?} is not in {said}");
        }
    }
}
