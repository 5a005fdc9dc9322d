/** The davit command against a real daemon and registry: lists, logs, exec, stop, rm, images and the server. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync, renameSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { Davit, podOf as pod, program, sleeper } from "../support/suites/cli.ts";
import { busybox, Node } from "../support/suites/containers.ts";
import { until } from "../support/suites/pods.ts";
import { busyboxLayer, imageOf, layerOf } from "../support/images.ts";
import { freePort } from "../support/registry.ts";

const execute = promisify(execFile);

let node: Node;
let davit: Davit;
before(async () => {
  node = await Node.startWithBusybox();
  davit = new Davit(node.daemon);
});
after(async () => {
  await node[Symbol.asyncDispose]();
});

describe("davit's lists", () => {
  test("show pods and containers, filtered, as tables, ids, JSON and YAML", async () => {
    await davit.withPods(`${pod("one", sleeper)}\n---${pod("two", "exit 0")}`, async () => {
      const all = await davit.done("pods");
      assert.match(all, /^POD ID +NAMESPACE +NAME +STATE +CONTAINERS +ADDRESS +PORTS +CREATED\n/);
      assert.match(all, /default +one +ready +1\/1 +10\.\d+\.\d+\.\d+ +\d+ s ago/);
      assert.match(
        await davit.done("pods", "-o", "wide", "--label", "app=one"),
        / RUNTIME +ATTEMPT +UID\n.* 10\.\d+\.\d+\.\d+ /,
      );
      assert.equal((await davit.done("pods", "-q", "--name", "^t")).trim().length, 64);
      assert.equal(await davit.done("pods", "-q", "--namespace", "other"), "");
      const json = JSON.parse(await davit.done("pods", "-o", "json")) as {
        items: { metadata: { name: string }; state: string; createdAt: string }[];
      };
      assert.deepEqual(json.items.map(({ metadata }) => metadata.name).sort(), ["one", "two"]);
      assert.equal(json.items[0]?.state, "SANDBOX_READY");
      assert.match(json.items[0].createdAt, /^\d+$/);

      await until(
        "two has ended",
        async () => (await davit.done("ps", "-aq", "--state", "exited")) !== "",
      );
      assert.match(await davit.done("pods"), /default +two +ready +0\/1 +10\./);
      const running = await davit.done("ps");
      assert.match(running, /one +main +registry\.k8s\.io\/e2e\/busybox:1 +running/);
      assert.doesNotMatch(running, /two/);
      assert.match(await davit.done("ps", "-a", "-o", "wide"), /two +main +\S+ +exited \(0\)/);
      assert.match(
        await davit.done("ps", "-a", "-o", "yaml", "--pod", "two"),
        /^containers:\n {2}- id:/,
      );
      assert.match(await davit.done("images"), /registry\.k8s\.io\/e2e\/busybox +1 +\w{12} +\d/);
      const { code, err } = await davit.run("ps", "--label", "x");
      assert.deepEqual([code, /must be KEY=VALUE/.test(err)], [2, true]);
    });
  });

  test("find objects by name, path and id, and refuse what is ambiguous or absent", async () => {
    await davit.withPods(`${pod("one", sleeper)}\n---${pod("two", sleeper)}`, async () => {
      const status = JSON.parse(await davit.done("inspect", "one/main")) as {
        status: { id: string; metadata: { name: string } };
        info: { pid: number };
      };
      assert.equal(status.status.metadata.name, "main");
      assert.ok(status.info.pid > 0);
      const byId = await davit.done("inspect", status.status.id.slice(0, 9));
      assert.equal((JSON.parse(byId) as typeof status).status.id, status.status.id);
      assert.match(await davit.done("inspect", "one", "-o", "yaml"), /^status:\n {2}id:/);
      assert.match(await davit.done("inspect", "--type", "image", busybox), /"repoTags": \[/);
      const many = await davit.run("logs", "main");
      assert.equal(many.code, 3);
      assert.match(
        many.err,
        /the name is ambiguous; use one of:\n {2}\w{12} {2}container default\//,
      );
      const none = await davit.run("stop", "tow");
      assert.equal(none.code, 3);
      assert.match(none.err, /find pod or container "tow": not found, did you mean "two"\?/);
    });
  });
});

describe("davit logs", () => {
  test("separate the streams, and support tail, since and timestamps", async () => {
    const script = "echo a; echo b >&2; printf 'no newline'; sleep 1000";
    await davit.withPods(pod("log", script), async () => {
      await until("all is written", async () => (await davit.done("logs", "log")).includes("no"));
      const { out, err } = await davit.run("logs", "log");
      assert.deepEqual([out.startsWith("a\nno newline"), err], [true, "b\n"]);
      assert.match(await davit.done("logs", "-t", "log"), /^\d{4}-\d\d-\d\dT\S+ a\n/);
      // A line that is not complete follows the last one.
      assert.equal((await davit.run("logs", "-n", "0", "log")).out, "no newline");
      assert.equal(await davit.done("logs", "--since", "2099-01-01T00:00:00Z", "log"), "");
      const { code } = await davit.run("logs", "--since", "yesterday", "log");
      assert.equal(code, 2);
    });
  });

  test("follow a log over a rotation until the container ends", async () => {
    await davit.withPods(
      pod("follow", `echo first; while [ ! -e /end ]; do sleep 0.1; done; echo last`),
      async () => {
        const id = (await davit.done("ps", "-q", "--pod", "follow")).trim();
        const { child, ended } = davit.start(["logs", "-f", "follow"]);
        let seen = "";
        child.stdout?.on("data", (chunk: Buffer) => (seen += String(chunk)));
        await until("the first line came", () => seen.includes("first"));
        const { status } = await node.daemon.client.runtime.containerStatus({ containerId: id });
        const logPath = status?.logPath ?? "";
        renameSync(logPath, `${logPath}.1`);
        await node.daemon.client.runtime.reopenContainerLog({ containerId: id });
        await davit.done("exec", "follow", "touch", "/end");
        const { code, out } = await ended;
        assert.deepEqual([code, out], [0, "first\nlast\n"]);
        assert.equal(readFileSync(logPath, "utf8").includes("first"), false);
      },
    );
  });
});

describe("davit exec, stop, rm", () => {
  test("exec passes on bytes and exit codes, and reports its own failures as 125, 127 and 124", async () => {
    await davit.withPods(pod("exec", sleeper), async () => {
      const run = await davit.run(
        "exec",
        "exec",
        "sh",
        "-c",
        "printf 'a\\377'; echo e >&2; exit 42",
      );
      assert.deepEqual([run.code, run.err], [42, "e\n"]);
      assert.equal(await davit.done("exec", "exec/main", "--", "echo", "-n", "--help"), "--help");
      assert.equal((await davit.run("exec", "nothing", "true")).code, 125);
      for (const words of [["exec"], ["exec", "-i"]]) {
        const { code, err } = await davit.run(...words, "exec", "no-such-program");
        assert.equal(code, 127);
        assert.match(
          err,
          /^davit: run "no-such-program" in container "default\/exec\/main": exec: "no-such-program": executable file not found in \$PATH\n$/,
        );
        assert.doesNotMatch(err, /[0-9a-f]{64}|stage/);
      }
      const late = await davit.run("exec", "--timeout", "1s", "exec", "sleep", "100");
      assert.equal(late.code, 124, late.err);
      const { ended } = davit.start(["exec", "-it", "exec", "sh"], "echo $((6 * 7)); exit 3\n");
      const scripted = await ended;
      assert.deepEqual([scripted.code, scripted.out], [3, "42\n"]);
      assert.match(scripted.err, /stdin is not a terminal/);
    });
  });

  test("stop ends containers within their grace period, rm removes only stopped ones unless forced", async () => {
    const file = davit.manifest(pod("end", sleeper));
    await davit.done("run", file);
    const refused = await davit.run("rm", "end");
    assert.equal(refused.code, 1);
    assert.match(
      refused.err,
      /remove pod "default\/end": it is ready; stop it first, or use --force/,
    );
    assert.equal(await davit.done("stop", "end/main"), "end/main\n");
    assert.match(await davit.done("ps", "-a"), /exited \(0\)/, "it exited within its grace period");
    assert.equal(await davit.done("stop", "end"), "end\n");
    assert.match(await davit.done("pods"), /notready/);
    assert.equal(await davit.done("rm", "--stopped"), "default/end\n");
    await davit.done("run", "--wait", file);
    assert.equal(await davit.done("rm", "-f", "-t", "0", "end"), "end\n");
    assert.equal(await davit.done("pods", "-q"), "");
    await davit.done("down", file);
    assert.equal(
      existsSync(davit.podsDirectory) && readdirSync(davit.podsDirectory).length > 0,
      false,
    );
  });
});

describe("davit pull, images, rmi", () => {
  test("pull and remove images, keep one that is in use, and prune unused ones", async () => {
    await node.registry.push(
      "e2e/other",
      imageOf([busyboxLayer(), layerOf([{ path: "x", body: "1" }])]),
      ["a", "b"],
    );
    const out = await davit.done(
      "pull",
      "registry.k8s.io/e2e/other:a",
      "registry.k8s.io/e2e/other:b",
    );
    assert.match(out, /^registry\.k8s\.io\/e2e\/other:a: \w{12}, \S+B, /m);
    assert.match(
      await davit.done("pull", "-q", "registry.k8s.io/e2e/other:a"),
      /^sha256:[0-9a-f]{64}\n$/,
    );
    const missing = await davit.run(
      "pull",
      "registry.k8s.io/e2e/none:1",
      "registry.k8s.io/e2e/other:a",
    );
    assert.equal(missing.code, 3, missing.err);
    assert.match(missing.out, /other:a/);
    assert.match(
      await davit.done("images", "registry.k8s.io/e2e/other"),
      /other +a[^\n]*\n[^\n]*other +b/,
    );
    await davit.withPods(pod("user", sleeper), async () => {
      const { code, err } = await davit.run("rmi", busybox);
      assert.equal(code, 1);
      assert.match(err, /container "default\/user\/main" uses it/);
      assert.equal(await davit.done("rmi", "--unused"), "registry.k8s.io/e2e/other:a\n");
    });
    assert.equal((await davit.run("rmi", "registry.k8s.io/e2e/other:a")).code, 3);
  });

  test("distinguish a registry that cannot be reached from a server that cannot", async () => {
    const image = `127.0.0.1:${await freePort()}/e2e/none:1`;
    const pulled = await davit.run("pull", image);
    assert.equal(pulled.code, 6, pulled.err);
    assert.match(pulled.err, /refused the connection/);
    const file = davit.manifest(pod("unpulled", "true").replace(busybox, image));
    assert.equal((await davit.run("run", file)).code, 6);
    assert.equal((await davit.run("pull", "--endpoint", "/nowhere/x.sock", image)).code, 4);
  });
});

describe("davit and its server", () => {
  test("version and info describe the server", async () => {
    assert.match(await davit.done("version"), /^davit \S+ .*\nserver davit \S+ \(CRI v1, unix:/);
    assert.match(await davit.done("version", "-o", "json"), /"runtimeName": "davit"/);
    const { code, out } = await davit.run("info");
    assert.equal(code, 0, out);
    assert.match(out, /^RuntimeReady +yes$/m);
    assert.match(await davit.done("info", "-o", "json"), /"pulls": \[\]/);
  });

  test("without a server the exit code is 4, the message says what to do, and nothing is created", async () => {
    const file = davit.manifest(pod("never", "true"));
    assert.equal((await davit.run("run", "--endpoint", "/nowhere/x.sock", file)).code, 4);
    assert.equal(readdirSync(davit.podsDirectory).length, 0);
    const { code, err, out } = await davit.run("pods", "--endpoint", "/nowhere/x.sock");
    assert.deepEqual([code, out], [4, ""]);
    assert.match(err, /connect to \/nowhere\/x\.sock: no such socket; start davit/);
  });

  test("a reader that closes the pipe early is not a failure", async () => {
    const { stdout, stderr } = await execute("sh", ["-c", `"$0" help | head -n 1`, program]);
    assert.deepEqual([/^davit runs/.test(stdout), stderr], [true, ""]);
  });
});
