/** davit run and davit down against a real daemon and registry: what they create, undo, refuse and print. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { Davit, podOf as pod, sleeper } from "../support/suites/cli.ts";
import { busybox, Node } from "../support/suites/containers.ts";
import { openDirectories, until } from "../support/suites/pods.ts";
import { imageOf, layerOf } from "../support/images.ts";

let node: Node;
let davit: Davit;
before(async () => {
  node = await Node.startWithBusybox();
  davit = new Davit(node.daemon);
});
after(async () => {
  await node[Symbol.asyncDispose]();
});

describe("davit run and down", () => {
  test("run a pod with volumes, init container and variables, and leave nothing", async () => {
    const file = davit.manifest(
      pod("full", `cat /data/first; echo $WHO at $IP; id -G; ${sleeper}`, {
        spec: `
  securityContext: {fsGroup: 4321}
  volumes: [{name: data, emptyDir: {}}, {name: mem, emptyDir: {medium: Memory, sizeLimit: 1Mi}}]
  initContainers:
    - name: first
      image: ${busybox}
      imagePullPolicy: Never
      command: [/bin/sh, -c, "echo from init >/data/first; stat -c %g /data/first"]
      volumeMounts: [{name: data, mountPath: /data}]`,
        container: `
      env:
        - {name: WHO, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
      volumeMounts:
        - {name: data, mountPath: /data, readOnly: true}
        - {name: mem, mountPath: /mem, subPath: a/b}`,
      }),
    );
    const out = await davit.done("run", "--wait", file);
    assert.match(out, /^POD ID +NAMESPACE +NAME +ADDRESS +CONTAINERS\n\w{12} +default +full +10\./);
    const [, address = ""] = / (10\.\S+) /.exec(out) ?? [];
    await until("its log is written", async () =>
      (await davit.done("logs", "full")).includes("4321"),
    );
    assert.equal(await davit.done("logs", "full/main"), `from init\nfull at ${address}\n0 4321\n`);
    assert.equal(await davit.done("logs", "full/first"), "4321\n");
    assert.equal(
      await davit
        .done("exec", "full/main", "df", "-P", "/mem")
        .then((text) => /^shm +1024 /m.test(text)),
      true,
    );

    const again = await davit.run("run", file);
    assert.equal(again.code, 1);
    assert.match(
      again.err,
      /this pod exists already, nothing was done:\n {2}\w{12} {2}default\/full, ready, created \d+ s ago/,
    );
    assert.match(again.err, /remove it with "davit down default\/full"/);

    assert.match(await davit.done("run", "--replace", "-q", "-f", file), /^[0-9a-f]{64}\n$/);
    assert.equal(await davit.done("down", file), "default/full\n");
    assert.equal(await davit.done("down", file), "default/full (not found)\n");
    assert.deepEqual(readdirSync(davit.podsDirectory), []);
  });

  test("give pods with hostUsers false ids that no other pod has, and their volumes with them", async () => {
    openDirectories(node.daemon);
    const look = `cat /proc/self/uid_map | tr -s ' '; stat -c %u:%g /data; echo x >/data/x && echo written; ${sleeper}`;
    const yaml = ["one", "two"].map((name) =>
      pod(name, look, {
        spec: "  hostUsers: false\n  volumes: [{name: data, emptyDir: {}}]",
        container: "      volumeMounts: [{name: data, mountPath: /data}]",
      }),
    );
    const firstId = async (name: string): Promise<number> => {
      await until("its log is written", async () =>
        (await davit.done("logs", name)).includes("written"),
      );
      const log = await davit.done("logs", name);
      assert.match(log, /^ 0 \d+ 65536\n0:0\nwritten\n$/);
      return Number(log.split(" ")[2]);
    };
    await davit.withPods(yaml[0] ?? "", () =>
      davit.withPods(yaml[1] ?? "", async () => {
        const [one, two] = [await firstId("one"), await firstId("two")];
        assert.ok(one >= 65_536 && two >= 65_536, `${String(one)}, ${String(two)}`);
        assert.ok(Math.abs(one - two) >= 65_536, `${String(one)}, ${String(two)}`);
        const mapped = await davit.done("exec", "one/main", "sh", "-c", "id -u; id -g");
        assert.equal(mapped, "0\n0\n");
      }),
    );
    assert.deepEqual(readdirSync(davit.podsDirectory), []);
  });

  test("refuse a field by file and line before anything is created, on stdin too", async () => {
    const yaml = `${pod("fine", "true")}\n---${pod("wrong", "true", { container: "      livenessProbe: {exec: {}, periodSeconds: 1}" })}`;
    const line = yaml.slice(0, yaml.indexOf("livenessProbe")).split("\n").length;
    const { code, err, out } = await davit.start(["run", "-"], yaml).ended;
    assert.deepEqual([code, out], [2, ""]);
    assert.match(
      err,
      new RegExp(`^stdin:${line}: spec\\.containers\\[0\\]\\.livenessProbe: not supp`, "m"),
    );
    assert.equal(await davit.done("pods", "-q"), "");
  });

  test("undo everything when one of several pods fails, and show why", async () => {
    const yaml = `${pod("good", sleeper)}\n---${pod("bad", "true", {
      spec: `
  initContainers:
    - {name: init, image: ${busybox}, command: [sh, -c, "echo nothing to do here >&2; exit 7"]}`,
    })}`;
    const { code, err } = await davit.run("run", davit.manifest(yaml));
    assert.equal(code, 1);
    assert.match(
      err,
      /"default\/bad\/init" exited with code 7 .*the end of its log:\n {2}nothing to do/s,
    );
    assert.equal(await davit.done("pods", "-q"), "");
    assert.deepEqual(readdirSync(davit.podsDirectory), []);
  });

  test("say what is wrong with a command, an image, a crash, a host path and a user", async () => {
    const cases: readonly (readonly [string, RegExp, number?])[] = [
      [
        pod("a", "true").replace("/bin/sh", "/bin/none"),
        /start container "default\/a\/main".*none/,
      ],
      [pod("a", "true").replace(busybox, "registry.k8s.io/e2e/none:1"), /pull image.*none/, 3],
      [
        pod("a", "echo so bad; exit 3"),
        /exited with code 3 \(Error\); the end of its log:\n {2}so bad/,
      ],
      [
        pod("a", "true", {
          spec: "  volumes: [{name: h, hostPath: {path: /nowhere/x, type: File}}]",
        }),
        /create volume "h" of pod "default\/a": check File "\/nowhere\/x"/,
      ],
      [pod("a", "true", { spec: "  securityContext: {runAsNonRoot: true}" }), /runs as root: set/],
    ];
    for (const [yaml, expected, exitCode = 1] of cases) {
      const { code, err } = await davit.run("run", "--wait", davit.manifest(yaml));
      assert.equal(code, exitCode, err);
      assert.match(err, expected);
    }
    assert.equal(await davit.done("pods", "-q"), "");
  });

  test("are undone by Ctrl-C", async () => {
    const release = node.registry.hold(/blobs/);
    try {
      await node.registry.push(
        "e2e/slow",
        imageOf([layerOf([{ path: "slow", body: "x".repeat(9999) }], "none")]),
        ["1"],
      );
      const yaml = pod("slow", "true").replace(busybox, "registry.k8s.io/e2e/slow:1");
      const { child, ended } = davit.start(["run", davit.manifest(yaml)]);
      await until("it pulls", () => node.registry.count(/e2e\/slow\/blobs/) > 0);
      child.kill("SIGINT");
      const { code, err } = await ended;
      assert.equal(code, 130, err);
      assert.match(err, /interrupted; everything that was created is removed/);
      assert.equal(await davit.done("pods", "-q"), "");
      assert.deepEqual(readdirSync(davit.podsDirectory), []);
    } finally {
      release();
    }
  });
});
