//! What the binary `lb` answers where no kernel is needed: exit code, standard output and error.

mod manifests;
mod place;

use place::Place;

#[test]
fn version_tells_all_that_matters() {
    let place = Place::new("version");
    place
        .lb(&["version"])
        .exits(0)
        .says(concat!("lb ", env!("CARGO_PKG_VERSION")))
        .says("layout of maps")
        .says("kernel programs");
}

#[test]
fn completions_for_each_shell() {
    let place = Place::new("completions");
    for shell in ["bash", "zsh", "fish"] {
        place
            .lb(&["completions", shell])
            .exits(0)
            .says("uninstall")
            .says("cluster-cidr");
    }
}

#[test]
fn without_a_command_there_is_help() {
    let place = Place::new("help");
    place.lb(&[]).exits(2).says_nothing().remarks("Usage: lb");
    place.lb(&["--help"]).exits(0).says("Usage: lb");
    place.lb(&["get", "--help"]).exits(0).says("kubectl");
}

#[test]
fn a_wrong_flag_names_flag_value_and_remedy() {
    let place = Place::new("flag");
    place
        .lb(&["get", "services", "--cluster-cidr", "10.42.0.0"])
        .exits(2)
        .says_nothing()
        .remarks("'10.42.0.0'")
        .remarks("--cluster-cidr")
        .remarks("write it as 10.42.0.0/16");
    place
        .lb_with(&["version"], &[("LB_HOOKS", "tc,ipvs")])
        .exits(2)
        .remarks("LB_HOOKS: value \"tc,ipvs\": not a hook: choose from tc, xdp, socket");
    place
        .lb(&["version", "--nodeport-addresses=primary,10.0.0.0/8"])
        .exits(2)
        .remarks("`primary` stands alone");
}

#[test]
fn a_configuration_file_is_read_and_judged() {
    let place = Place::new("file");
    let file = place.path().join("lb.yaml");
    let flag = format!("--config={}", file.display());
    std::fs::write(&file, "apiVersion: lb/v1\nuplink: [eth0]\n").expect("a file");
    place.lb(&["version", &flag]).exits(0);
    std::fs::write(&file, "apiVersion: lb/v1\nupLink: [eth0]\n").expect("a file");
    place
        .lb(&["version", &flag])
        .exits(2)
        .remarks("lb.yaml:2: upLink: no such setting");
}

#[test]
fn where_nothing_is_pinned_the_remedy_is_told() {
    let place = Place::new("pins");
    for what in ["services", "frontends", "backends", "flows"] {
        place
            .lb(&["get", what])
            .exits(1)
            .says_nothing()
            .remarks("was `lb run` started on this node");
    }
    place.lb(&["status"]).exits(1).remarks("`lb run`");
    place.lb(&["drops"]).exits(1).remarks("`lb run`");
    place
        .lb(&["get", "problems"])
        .exits(1)
        .remarks("no state file");
}

#[test]
fn problems_need_no_maps() {
    let place = Place::new("problems");
    let state = place.path().join("state");
    std::fs::create_dir_all(&state).expect("a directory");
    let text = r#"{
        "format": 1, "version": "0.1.0", "pid": 1, "writtenAtMillis": 0, "node": "node-a",
        "problems": [{
            "object": {"kind": "Service", "namespace": "default", "name": "kubia"},
            "field": "spec.clusterIP", "why": "no range", "place": null
        }]
    }"#;
    std::fs::write(state.join("pins.json"), text).expect("a state file");
    place
        .lb(&["get", "problems"])
        .exits(0)
        .says("OBJECT          FIELD            WRITTEN-IN   PROBLEM\n")
        .says("service/kubia   spec.clusterIP   <none>       no range\n")
        .remarks("`lb run` is not running");
    place
        .lb(&["get", "problems", "-n", "shop"])
        .exits(0)
        .says_nothing()
        .remarks("No problems found in shop namespace; 1 in others: -A shows them.");
    place
        .lb(&["get", "problems", "dns"])
        .exits(1)
        .remarks("problem \"dns\" not found in namespace \"default\"");
    place
        .lb(&["get", "problems", "-A", "-o", "name", "--no-headers"])
        .exits(0)
        .says("problem/kubia\n");
}

#[test]
fn a_namespace_and_all_of_them_contradict_each_other() {
    let place = Place::new("namespaces");
    place
        .lb(&["get", "services", "-n", "shop", "-A"])
        .exits(2)
        .remarks("cannot be used with");
}

#[test]
fn run_without_manifests_says_so() {
    let place = Place::new("run");
    place.lb(&["run"]).exits(1).remarks("--manifests");
}

#[test]
fn uninstall_with_nothing_there_is_done_and_leaves_nothing() {
    let place = Place::new("uninstall");
    place.lb(&["uninstall"]).exits(0).says("0 maps");
    place.lb(&["--cleanup"]).exits(0).says("0 maps");
    assert!(!place.path().join("state").exists());
}
