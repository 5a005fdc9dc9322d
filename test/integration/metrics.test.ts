/** The metrics of a real daemon: what was done, and what the series then say. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import { ask, type Endpoint, samplesOf } from "../support/prometheus.ts";
import { freePort } from "../support/registry.ts";
import { ScriptedPlugin } from "../support/cni.ts";
import {
  busybox,
  container,
  exec,
  exited,
  inPod,
  pidOf,
  Node,
  openPod,
  pull,
  remove,
  runIn,
  script,
  stop,
} from "../support/suites/containers.ts";
import {
  bare,
  code,
  endDaemon,
  failsWith,
  launchDaemon,
  leakless,
  pod,
  removePod,
  runPod,
  startDaemon,
  stopPod,
  until,
} from "../support/suites/pods.ts";

let node: Node;
let endpoint: { readonly host: string; readonly port: number };
const served = (): TestDaemon => node.daemon;

before(async () => {
  endpoint = { host: "127.0.0.1", port: await freePort() };
  const listen = `127.0.0.1:${endpoint.port}`;
  node = await Node.startWithBusybox({ config: { metrics: { listen } } });
  // The plugins make the bridge for the first pod, and keep it.
  await removePod(node.daemon, await runPod(node.daemon, pod()));
});
after(() => node[Symbol.asyncDispose]());

/** The samples of a scrape. */
async function scrape(from: Endpoint = endpoint): Promise<ReadonlyMap<string, number>> {
  const { status, body } = await ask(from);
  assert.equal(status, 200);
  return samplesOf(body.toString());
}

/** A scrape in which a sample has a value: answers within 100 ms have the same text. */
async function scrapeUntil(name: string, value: number): Promise<ReadonlyMap<string, number>> {
  return until(`${name} is ${value}`, async () => {
    const samples = await scrape();
    return samples.get(name) === value ? samples : undefined;
  });
}

/** The value of a sample; 0 for a series that does not exist yet. */
const at = (samples: ReadonlyMap<string, number>, name: string): number => samples.get(name) ?? 0;

/** How much the samples grow during `work`. The numbers of a call may come a moment after its answer. */
async function growth(work: () => Promise<void>, wanted: Readonly<Record<string, number>>) {
  const first = await scrape();
  await work();
  let last: unknown;
  await until(
    "the metrics have grown",
    async () => {
      const now = await scrape();
      last = Object.fromEntries(
        Object.keys(wanted).map((name) => [name, at(now, name) - at(first, name)]),
      );
      return JSON.stringify(last) === JSON.stringify(wanted);
    },
    10_000,
  ).catch(() => assert.deepEqual(last, wanted));
}

describe("the metrics of a daemon", () => {
  test(
    "count calls by method and code, operations, exits, plugins and exec",
    leakless(served, async () => {
      const { daemon } = node;
      const work = async (): Promise<void> => {
        const subject = await openPod(daemon, pod());
        const id = await runIn(subject, container());
        await exec(daemon, id, ["true"]);
        await exec(daemon, id, ["true"]);
        const endless = { containerId: id, cmd: ["sleep", "100000"], timeout: 1n };
        await assert.rejects(
          daemon.client.runtime.execSync(endless),
          failsWith(code.deadlineExceeded),
        );
        await stop(daemon, id);
        await stopPod(daemon, subject.id);
        await removePod(daemon, subject.id);
        await assert.rejects(
          daemon.client.runtime.containerStatus({ containerId: "none" }),
          failsWith(code.notFound),
        );
      };
      await growth(work, {
        'davit_rpc_calls_total{method="RunPodSandbox",code="OK"}': 1,
        'davit_rpc_duration_seconds_count{method="RunPodSandbox"}': 1,
        'davit_rpc_calls_total{method="ExecSync",code="OK"}': 2,
        'davit_rpc_calls_total{method="ExecSync",code="DeadlineExceeded"}': 1,
        'davit_rpc_calls_total{method="ContainerStatus",code="NotFound"}': 1,
        'davit_operations_total{operation="run-pod-sandbox",result="ok"}': 1,
        'davit_operations_total{operation="start-container",result="ok"}': 1,
        'davit_operation_duration_seconds_count{operation="start-container"}': 1,
        'davit_operation_stage_duration_seconds_count{operation="run-pod-sandbox",stage="add-network"}': 1,
        'davit_operation_stage_duration_seconds_count{operation="start-container",stage="create-process"}': 1,
        'davit_operations_total{operation="exec-sync",result="ok"}': 2,
        'davit_operations_total{operation="exec-sync",result="error"}': 1,
        'davit_operation_failures_total{operation="exec-sync",stage="wait-for-end"}': 1,
        davit_exec_sync_timeouts_total: 1,
        'davit_cni_plugin_duration_seconds_count{plugin="bridge",command="ADD"}': 1,
        'davit_cni_plugin_duration_seconds_count{plugin="bridge",command="DEL"}': 1,
        'davit_container_exits_total{reason="Error"}': 1,
        'davit_container_exits_total{reason="OOMKilled"}': 0,
      });
    }),
  );

  test(
    "count OOM kills, and show sandboxes and containers by state",
    leakless(served, async () => {
      const { daemon } = node;
      await inPod(daemon, bare(), async (inside) => {
        const limited = { linux: { resources: { memoryLimitInBytes: 16n << 20n } } };
        const oom = async (): Promise<void> => {
          const id = await runIn(inside, script("tail /dev/zero", limited));
          await exited(daemon, id);
        };
        await growth(oom, {
          'davit_container_exits_total{reason="OOMKilled"}': 1,
          'davit_container_exits_total{reason="Error"}': 0,
          'davit_containers{state="exited"}': 1,
        });
        const id = await runIn(inside, container());
        const samples = await scrapeUntil('davit_containers{state="running"}', 1);
        assert.equal(at(samples, 'davit_sandboxes{state="ready"}'), 1);
        assert.equal(at(samples, 'davit_containers{state="running"}'), 1);
        assert.equal(at(samples, 'davit_operations_in_flight{operation="run-pod-sandbox"}'), 0);
        assert.equal(samples.get("davit_network_ready"), 1);
        await remove(daemon, id);
      });
      const samples = await scrapeUntil('davit_containers{state="running"}', 0);
      assert.equal(samples.get('davit_sandboxes{state="ready"}'), 0);
      assert.equal(samples.get('davit_containers{state="running"}'), 0);
    }),
  );

  test("count the bytes and layers of pulls, and failures by reason", async () => {
    const { daemon } = node;
    const again = async (): Promise<void> => {
      await pull(daemon, busybox);
      const none = { image: { image: "registry.k8s.io/e2e/none:1" } };
      await assert.rejects(daemon.client.image.pullImage(none), failsWith(code.notFound));
    };
    await growth(again, {
      'davit_image_pull_layers_total{registry="registry.k8s.io",source="fetched"}': 0,
      'davit_image_pull_layers_total{registry="registry.k8s.io",source="reused"}': 1,
      'davit_image_pull_failures_total{registry="registry.k8s.io",reason="not-found"}': 1,
      'davit_image_pull_bytes_total{registry="registry.k8s.io"}': 0,
      davit_images: 0,
    });
    const samples = await scrape();
    const { images } = await daemon.client.image.listImages({});
    assert.equal(samples.get("davit_images"), images.length);
    assert.equal(samples.get("davit_image_layers"), 1);
    const fetched = samples.get(
      'davit_image_pull_layers_total{registry="registry.k8s.io",source="fetched"}',
    );
    assert.equal(fetched, 1);
    const bytes = samples.get('davit_image_pull_bytes_total{registry="registry.k8s.io"}');
    assert.ok(bytes !== undefined && bytes > 100_000, `${bytes} bytes were received`);
  });

  test("have the process: memory, processor time, descriptors, event loop, version", async () => {
    const samples = await scrape();
    for (const [name, least] of [
      ["davit_process_resident_memory_bytes", 20_000_000],
      ["davit_process_heap_used_bytes", 1_000_000],
      ["davit_process_cpu_seconds_total", 0.01],
      ["davit_process_open_fds", 10],
      ["davit_process_max_fds", 10],
      ["davit_event_loop_delay_seconds_count", 1],
    ] as const) {
      assert.ok(at(samples, name) >= least, `${name} is ${samples.get(name)}`);
    }
    const started = at(samples, "davit_process_start_time_seconds");
    assert.ok(Math.abs(Date.now() / 1000 - started) < 3600, `started at ${started}`);
    assert.ok([...samples.keys()].some((name) => name.startsWith('davit_build_info{version="')));
  });

  test("create no series for methods that do not exist", async () => {
    const client = served().client;
    await client.runtime.version({});
    const names = [...(await scrape()).keys()].filter((name) => name.startsWith("davit_rpc_"));
    const methods = new Set(names.map((name) => /method="([^"]*)"/.exec(name)?.[1]));
    for (const method of methods) assert.match(method ?? "Version", /^[A-Z][A-Za-z]+$/);
    assert.ok(methods.has("Version"));
  });

  test("name no pod, container or image", async () => {
    const { daemon } = node;
    await inPod(daemon, bare(), async (inside) => {
      const id = await runIn(inside, container());
      const text = (await ask(endpoint)).body.toString();
      for (const secret of [id, inside.id, inside.config.metadata?.name ?? "", busybox]) {
        assert.ok(!text.includes(secret), `the metrics have ${secret}`);
      }
    });
  });
});

describe("the metrics of a daemon that was restarted", () => {
  test("count the end of a container while no daemon ran", async () => {
    const { daemon } = node;
    await inPod(daemon, bare(), async (inside) => {
      const pid = await pidOf(daemon, await runIn(inside, container()));
      await daemon.kill9();
      process.kill(pid, "SIGKILL");
      await launchDaemon(daemon);
      const samples = await scrapeUntil('davit_containers{state="exited"}', 1);
      assert.equal(samples.get('davit_container_exits_total{reason="Error"}'), 1);
      assert.equal(samples.get('davit_operations_total{operation="recover",result="ok"}'), 1);
    });
  });
});

describe("failures of network plugins", () => {
  test("are counted by plugin and command, and name the stage", async () => {
    const directory = mkdtempSync(path.join(tmpdir(), "davit-metrics-"));
    const plugin = new ScriptedPlugin(directory);
    plugin.on("ADD", { does: "fail", error: { code: 100, msg: "out of addresses" } });
    const port = await freePort();
    const daemon = await startDaemon({
      config: { metrics: { listen: `127.0.0.1:${port}` } },
      conflist: { cniVersion: "1.0.0", name: "scripted", plugins: [{ type: plugin.type }] },
      pluginDirs: [plugin.binDir],
    });
    try {
      await assert.rejects(daemon.client.runtime.runPodSandbox({ config: pod() }));
      const samples = await scrape({ host: "127.0.0.1", port });
      const failures = 'davit_cni_plugin_failures_total{plugin="scripted",command="ADD"}';
      assert.equal(samples.get(failures), 1);
      const failed =
        'davit_operation_failures_total{operation="run-pod-sandbox",stage="add-network"}';
      assert.equal(samples.get(failed), 1);
    } finally {
      await endDaemon(daemon);
      rmSync(directory, { recursive: true, force: true });
    }
  });
});
