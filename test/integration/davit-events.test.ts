/** davit.v1.Daemon/Events and davit events: images, OOM kills, and plugins that hang or die. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { CriClient } from "../../src/client/cri-client.ts";
import type { EventsResponse } from "../../src/gen/davit/v1/daemon_pb.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { busyboxLayer, imageOf } from "../support/images.ts";
import { connectPlugin, nriStatus, pluginNames, withPlugins } from "../support/nri.ts";
import { patient } from "../support/patience.ts";
import { Davit } from "../support/suites/cli.ts";
import {
  createIn,
  exited,
  inPod,
  Node,
  pull,
  removeImage,
  runIn,
  script,
} from "../support/suites/containers.ts";
import { bare, code, launchDaemon, until } from "../support/suites/pods.ts";

const example = path.resolve(import.meta.dirname, "../../examples/nri/ulimit-adjuster.ts");

let node: Node;
let daemon: TestDaemon;
before(async () => {
  node = await Node.startWithBusybox({
    config: {
      nri: {
        ...withPlugins.nri,
        plugin_registration_timeout: patient(30),
        plugin_request_timeout: patient(2),
      },
    },
  });
  daemon = node.daemon;
});
after(() => node[Symbol.asyncDispose]());

/** A reader of the events with a connection of its own. */
class Reader implements Disposable {
  readonly events: EventsResponse["event"][] = [];
  readonly ended: Promise<unknown>;
  readonly #client: CriClient;

  private constructor(onOpen: () => void) {
    this.#client = new CriClient(daemon.paths.socket);
    this.ended = this.#read(onOpen);
  }

  static async open(): Promise<Reader> {
    const opened = Promise.withResolvers<undefined>();
    const reader = new Reader(() => opened.resolve(undefined));
    await Promise.race([opened.promise, reader.ended]);
    return reader;
  }

  async #read(onOpen: () => void): Promise<unknown> {
    let isOpen = false;
    try {
      for await (const { event, timeNs } of this.#client.daemon.events({})) {
        // The first message says that the stream is open.
        assert.equal(event.case === undefined, !isOpen);
        assert.equal(timeNs === 0n, !isOpen);
        if (isOpen) this.events.push(event);
        isOpen = true;
        onOpen();
      }
      return undefined;
    } catch (error) {
      return error;
    }
  }

  /** Waits for an event for which `pick` has a value. */
  async told<T>(pick: (event: EventsResponse["event"]) => T | undefined): Promise<T> {
    return await until("the event is told", () => {
      for (const event of this.events) {
        const value = pick(event);
        if (value !== undefined) return value;
      }
      return undefined;
    });
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}

describe("Events", () => {
  test("tell which images are pulled and removed", async () => {
    using reader = await Reader.open();
    const image = imageOf([busyboxLayer()], { Cmd: ["other"] });
    await node.registry.push("t/event", image, ["1"]);
    const name = "registry.k8s.io/t/event:1";
    const id = await pull(daemon, name);
    const pulled = await reader.told((event) =>
      event.case === "imagePulled" ? event.value : undefined,
    );
    assert.deepEqual([pulled.id, pulled.name], [id, name]);
    await removeImage(daemon, name);
    const removed = await reader.told((event) =>
      event.case === "imageRemoved" ? event.value : undefined,
    );
    assert.deepEqual([removed.id, removed.names], [id, [name]]);
    await removeImage(daemon, name);
    assert.equal(reader.events.length, 2);
  });

  test("report OOM kills, in a container that ends by it and in one that continues", async () => {
    using reader = await Reader.open();
    const limited = { linux: { resources: { memoryLimitInBytes: 16n << 20n } } };
    await inPod(daemon, bare(), async (pod) => {
      const killed = await runIn(pod, script("exec tail /dev/zero", limited));
      await exited(daemon, killed);
      const kill = (id: string) =>
        reader.told((event) =>
          event.case === "oomKilled" && event.value.containerId === id ? event.value : undefined,
        );
      assert.equal((await kill(killed)).sandboxId, pod.id);
      const goes = await runIn(pod, script("sleep 2; tail /dev/zero; sleep 100000", limited));
      await kill(goes);
      const { status } = await daemon.client.runtime.containerStatus({ containerId: goes });
      assert.equal(status?.state, 1);
    });
    assert.equal(reader.events.filter(({ case: kind }) => kind === "oomKilled").length, 2);
  });

  test("name a plugin that hangs and one that dies, with the reason", async () => {
    using reader = await Reader.open();
    const never = new Promise<never>(() => undefined);
    using _hanging = await connectPlugin(daemon, {
      name: "device-injector",
      answers: { createContainer: () => never },
    });
    const dying = await connectPlugin(daemon, { index: "20", name: "dies" });
    const connected = reader.events.flatMap(({ case: kind, value }) =>
      kind === "pluginConnected" ? [`${value.index}-${value.name}`] : [],
    );
    assert.deepEqual(connected, ["10-device-injector", "20-dies"]);
    dying[Symbol.dispose]();
    const loss = (name: string) =>
      reader.told((event) =>
        event.case === "pluginLost" && event.value.name === name ? event.value : undefined,
      );
    const lost = await loss("dies");
    assert.equal(lost.index, "20");
    assert.notEqual(lost.reason, "");
    await inPod(daemon, bare(), async (pod) => {
      const id = await createIn(pod, script("true"));
      const hung = await loss("device-injector");
      assert.match(hung.reason, /no response after \d+ ms/);
      assert.ok(hung.reason.endsWith(`at CreateContainer of container "${id}"`));
    });
  });

  test("end with davit, with an error that says so", async () => {
    using reader = await Reader.open();
    await daemon.stop();
    const error = await reader.ended;
    assert.match(String(error), /davit is shutting down/);
    assert.equal((error as { readonly code?: number }).code, code.unavailable);
    await launchDaemon(daemon);
  });
});

test("davit events prints a plugin that davit started and that is killed", async () => {
  await daemon.stop();
  const plugins = path.join(daemon.paths.directory, "nri-plugins");
  mkdirSync(plugins, { mode: 0o755 });
  const program = `#!/bin/sh\nexec '${process.execPath}' '${example}'\n`;
  writeFileSync(path.join(plugins, "10-ulimits"), program, { mode: 0o755 });
  await launchDaemon(daemon);
  await until("the plugin is there", async () => (await pluginNames(daemon)).length === 1);
  const davit = new Davit(daemon);
  const [lines, json] = [davit.start(["events"]), davit.start(["events", "-o", "json"])].map(
    (running) => {
      const seen = { out: "", err: "" };
      running.child.stdout?.on("data", (chunk: Buffer) => (seen.out += String(chunk)));
      running.child.stderr?.on("data", (chunk: Buffer) => (seen.err += String(chunk)));
      return { ...running, seen };
    },
  );
  assert.ok(lines !== undefined && json !== undefined);
  try {
    for (const { seen } of [lines, json]) {
      await until("it watches", () => seen.err.includes("davit: watching events\n"));
    }
    const [plugin] = (await nriStatus(daemon)).plugins;
    process.kill(plugin?.pid ?? 0, "SIGKILL");
    await until("the loss is printed", () => lines.seen.out.includes("\n"));
    assert.match(lines.seen.out, /^\S+ \S+ {2}plugin lost {2}10-ulimits: \S.*\n$/);
    await until("the loss is printed as JSON", () => json.seen.out.includes("\n"));
    const { type, index, name, reason } = JSON.parse(json.seen.out) as Record<string, string>;
    assert.deepEqual([type, index, name], ["plugin-lost", "10", "ulimits"]);
    assert.ok(lines.seen.out.endsWith(`: ${reason}\n`));
  } finally {
    for (const { child, ended } of [lines, json]) {
      child.kill("SIGINT");
      await ended;
    }
  }
});
