//! Where new files are stored: as the flags say, or else as filer.conf says for their path.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use cluster::{Builder, Cluster};
use e2e::{Mount, Scene, needs_fuse, noise};

/// Two servers in a data center of their own, with disks of one kind.
fn somewhere() -> Builder {
    let servers = Cluster::builder().volume_servers(2);
    let servers = servers.volume_arg("-dataCenter=here");
    servers.volume_arg("-disk=ssd").filer_arg("-disk=ssd")
}

fn store(path: &Path) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(&noise(1, 100_000))?;
    file.sync_all()
}

/// What the master says of the volume that holds a file, a line for each replica.
fn volumes_of(scene: &Scene, path: &str) -> Vec<String> {
    let entry = scene.craft().lookup(path).unwrap();
    let fid = entry.chunks[0].fid.as_ref().unwrap();
    let said = scene.shell("volume.list");
    let own = format!("volume Id:{},", fid.volume_id);
    let lines = said.lines().map(str::trim);
    let lines: Vec<_> = lines
        .filter(|line| line.starts_with(&own))
        .map(str::to_owned)
        .collect();
    assert!(!lines.is_empty(), "volume {}: {said}", fid.volume_id);
    lines
}

fn seconds_to_live(scene: &Scene, path: &str) -> i32 {
    let entry = scene.craft().lookup(path).unwrap();
    entry.attributes.unwrap().ttl_sec
}

#[test]
fn new_files_are_stored_as_the_flags_say() {
    needs_fuse!();
    let scene = Scene::of(somewhere());
    let flags = [
        "-collection=pictures",
        "-replication=001",
        "-ttl=7200",
        "-disk=ssd",
        "-dataCenter=here",
    ];
    let (stock, ours) = (scene.stock(&flags), scene.mount_at("ours", &flags));
    store(&stock.dir().join("theirs")).unwrap();
    store(&ours.path("/ours")).unwrap();
    for path in ["/theirs", "/ours"] {
        let volumes = volumes_of(&scene, path);
        assert_eq!(volumes.len(), 2, "replicas of {path}: {volumes:?}");
        for wanted in ["Collection:pictures,", "ReplicaPlacement:001,", "Ttl:2h,"] {
            let has = |line: &String| line.contains(wanted);
            assert!(volumes.iter().all(has), "{path}, {wanted}: {volumes:?}");
        }
        assert_eq!(seconds_to_live(&scene, path), 7200, "{path}");
    }
}

#[test]
fn what_the_flags_ask_for_and_no_server_has_fails_when_it_is_stored() {
    needs_fuse!();
    let scene = Scene::of(somewhere());
    for (name, flag) in [("disk", "-disk=hdd"), ("replicas", "-replication=100")] {
        let mount = scene.mount_at(name, &[flag]);
        let stored = store(&mount.path(&format!("/{name}")));
        assert!(stored.is_err(), "{flag}");
    }
    // A data center is a wish: without one the filer takes another.
    for (name, flags) in [("any", vec![]), ("center", vec!["-dataCenter=elsewhere"])] {
        let mount = scene.mount_at(name, &flags);
        store(&mount.path(&format!("/{name}"))).unwrap();
        assert_eq!(volumes_of(&scene, &format!("/{name}")).len(), 1);
    }
}

#[test]
fn rules_of_the_filer_decide_where_the_flags_do_not() {
    const RULES: &str = "fs.configure -locationPrefix=/ruled/ -collection=rules \
                         -replication=001 -ttl=2h -apply";
    needs_fuse!();
    let scene = Scene::of(somewhere());
    let said = scene.shell(RULES);
    assert!(said.contains("/ruled/"), "{said}");
    let (stock, ours) = (scene.stock(&[]), scene.mount_at("ours", &[]));
    let make = |mount: &Path, name: &str| {
        fs::create_dir_all(mount.join("ruled")).unwrap();
        store(&mount.join(name)).unwrap();
    };
    make(stock.dir(), "ruled/theirs");
    make(Mount::dir(&ours), "ruled/ours");
    store(&ours.path("/free")).unwrap();
    for path in ["/ruled/theirs", "/ruled/ours"] {
        let volumes = volumes_of(&scene, path);
        assert_eq!(volumes.len(), 2, "replicas of {path}: {volumes:?}");
        for wanted in ["Collection:rules,", "ReplicaPlacement:001,", "Ttl:2h,"] {
            let has = |line: &String| line.contains(wanted);
            assert!(volumes.iter().all(has), "{path}, {wanted}: {volumes:?}");
        }
    }
    let (theirs, ours) = ("/ruled/theirs", "/ruled/ours");
    assert_eq!(
        seconds_to_live(&scene, ours),
        seconds_to_live(&scene, theirs)
    );
    assert_eq!(volumes_of(&scene, "/free").len(), 1);
}
