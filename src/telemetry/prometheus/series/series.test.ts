import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { RuntimeError } from "../../../base/errors.ts";
import { silentLogger } from "../../../base/logger.ts";
import { noFaults, Operations } from "../../../core/operation/index.ts";
import type { Call, CallEnd } from "../../../wire/grpc/call.ts";
import { Registry } from "../registry.ts";
import { CallSeries } from "./calls.ts";
import { ExitSeries } from "./objects.ts";
import { OperationMetrics } from "./operations.ts";
import { nriSeries } from "./nri.ts";
import { pluginSeries } from "./plugins.ts";
import { delaySeconds, ProcessSeries } from "./process.ts";
import { PullSeries } from "./pulls.ts";

/** The samples of a registry, without those of a name that is not asked for. */
function samples(registry: Registry, name: RegExp): readonly string[] {
  return registry
    .text()
    .split("\n")
    .filter((line) => !line.startsWith("#") && name.test(line));
}

describe("CallSeries", () => {
  const path = "/runtime.v1.RuntimeService/Version";
  const events = "/runtime.v1.RuntimeService/GetContainerEvents";
  const end = (series: CallSeries, method: string, code: number, durationMs = 3): void => {
    const call = { method } as Call;
    series.ended(call, { code, durationMs } as CallEnd);
  };

  test("counts calls by method and code, also the successes that did not happen", () => {
    const registry = new Registry();
    const series = new CallSeries(registry, [path, events], () => 7);
    end(series, path, 5);
    end(series, path, 5, 30);
    assert.deepEqual(samples(registry, /calls_total|in_flight|_sum/), [
      'davit_rpc_calls_total{method="Version",code="OK"} 0',
      'davit_rpc_calls_total{method="Version",code="NotFound"} 2',
      'davit_rpc_duration_seconds_sum{method="Version"} 0.033',
      "davit_rpc_in_flight 7",
    ]);
    assert.deepEqual(samples(registry, /le="(0.0025|0.005|0.05)"/), [
      'davit_rpc_duration_seconds_bucket{method="Version",le="0.0025"} 0',
      'davit_rpc_duration_seconds_bucket{method="Version",le="0.005"} 1',
      'davit_rpc_duration_seconds_bucket{method="Version",le="0.05"} 2',
    ]);
  });

  test("tells methods of one name in several services apart, and measures no command", () => {
    const registry = new Registry();
    const [cri, own] = ["/runtime.v1.RuntimeService/Exec", "/davit.v1.Containers/Exec"] as const;
    const series = new CallSeries(registry, [cri, own], () => 0);
    end(series, cri, 0);
    end(series, own, 1, 60_000);
    assert.deepEqual(samples(registry, /calls_total|_count/), [
      'davit_rpc_calls_total{method="Exec",code="OK"} 1',
      'davit_rpc_calls_total{method="Containers/Exec",code="OK"} 0',
      'davit_rpc_calls_total{method="Containers/Exec",code="Canceled"} 1',
      'davit_rpc_duration_seconds_count{method="Exec"} 1',
    ]);
  });

  test("has no series for unknown methods, and names codes that do not exist Unknown", () => {
    const registry = new Registry();
    const series = new CallSeries(registry, [path], () => 0);
    for (let at = 0; at < 100; at++) end(series, `/runtime.v1.RuntimeService/Made${at}`, 12);
    end(series, path, 99);
    end(series, path, 2);
    assert.deepEqual(samples(registry, /calls_total/), [
      'davit_rpc_calls_total{method="Version",code="OK"} 0',
      'davit_rpc_calls_total{method="Version",code="Unknown"} 2',
    ]);
  });

  test("counts the stream of events, but does not measure how long it lasted", () => {
    const registry = new Registry();
    const series = new CallSeries(registry, [events], () => 0);
    end(series, events, 1);
    assert.deepEqual(samples(registry, /duration/), []);
    assert.equal(samples(registry, /calls_total.*Canceled/).length, 1);
  });
});

describe("OperationMetrics", () => {
  /** Operations on a clock that a test sets. */
  function setUp() {
    const registry = new Registry();
    const clock = { ms: 1_000, nowMs: (): number => clock.ms, nowNs: () => 0n };
    const operations = new Operations({ faults: noFaults, clock });
    const failedPulls: string[] = [];
    const metrics = new OperationMetrics(registry, {
      views: () => operations.views(),
      pullFailed: (...all) => failedPulls.push(all.join(" ")),
    });
    operations.observe(metrics);
    const base = { subject: "x", timeoutMs: 60_000, log: silentLogger } as const;
    return { registry, clock, operations, failedPulls, base };
  }

  test("measures stages as `davit why` shows them, plugins as part of the network's", async () => {
    const { registry, clock, operations, base } = setUp();
    await operations.run({ ...base, name: "run-pod-sandbox" }, async (operation) => {
      await operation.enter("add-network");
      clock.ms += 30;
      await operation.enter("network-plugin-done", "bridge");
      clock.ms += 20;
      await operation.enter("network-plugin-done", "portmap");
      await operation.enter("network-added");
      clock.ms += 4;
      await operation.enter("make-files");
      clock.ms += 8;
      await operation.enter("answer");
    });
    assert.deepEqual(samples(registry, /stage_duration_seconds_sum/), [
      'davit_operation_stage_duration_seconds_sum{operation="run-pod-sandbox",stage="add-network"} 0.05',
      'davit_operation_stage_duration_seconds_sum{operation="run-pod-sandbox",stage="network-added"} 0.004',
      'davit_operation_stage_duration_seconds_sum{operation="run-pod-sandbox",stage="make-files"} 0.008',
    ]);
    assert.deepEqual(
      samples(registry, /run-pod.*(ok|error)"|duration_seconds_sum.*pod-sandbox"} /),
      [
        'davit_operations_total{operation="run-pod-sandbox",result="ok"} 1',
        'davit_operations_total{operation="run-pod-sandbox",result="error"} 0',
        'davit_operation_duration_seconds_sum{operation="run-pod-sandbox"} 0.062',
        'davit_operation_duration_seconds_sum{operation="stop-pod-sandbox"} 0',
        'davit_operation_duration_seconds_sum{operation="remove-pod-sandbox"} 0',
      ],
    );
  });

  test("names the stage of a failure, not one of its undo, and measures no stages then", async () => {
    const { registry, operations, base } = setUp();
    const run = operations.run({ ...base, name: "run-pod-sandbox" }, async (operation) => {
      await operation.enter("add-network");
      await operation.undoing("prepare-cgroup");
      throw new RuntimeError("internal", "no");
    });
    await assert.rejects(run);
    assert.deepEqual(samples(registry, /failures_total|stage_duration/), [
      'davit_operation_failures_total{operation="run-pod-sandbox",stage="add-network"} 1',
    ]);
  });

  test("counts timeouts of ExecSync, and reports failed pulls with registry and reason", async () => {
    const { registry, operations, failedPulls, base } = setUp();
    const fail = async (
      name: "exec-sync" | "pull-image",
      kind: "deadline-exceeded" | "not-found",
      subject: string,
    ): Promise<void> => {
      const run = operations.run({ ...base, name, subject }, () =>
        Promise.reject(new RuntimeError(kind, "no")),
      );
      await assert.rejects(run);
    };
    await fail("exec-sync", "deadline-exceeded", "x");
    await fail("exec-sync", "not-found", "x");
    await fail("pull-image", "not-found", "images.test/a/b:1");
    assert.deepEqual(samples(registry, /timeouts/), ["davit_exec_sync_timeouts_total 1"]);
    assert.deepEqual(failedPulls, ["images.test not-found"]);
  });

  test("shows the operations in progress and the age of the oldest", () => {
    const { registry, clock, operations, base } = setUp();
    const first = operations.begin({ ...base, name: "pull-image" });
    clock.ms += 1_500;
    const second = operations.begin({ ...base, name: "pull-image" });
    clock.ms += 500;
    const shown = /(in_flight|oldest_seconds).*pull-image/;
    assert.deepEqual(samples(registry, shown), [
      'davit_operations_in_flight{operation="pull-image"} 2',
      'davit_operation_oldest_seconds{operation="pull-image"} 2',
    ]);
    first[Symbol.dispose]();
    second[Symbol.dispose]();
    assert.deepEqual(samples(registry, shown), [
      'davit_operations_in_flight{operation="pull-image"} 0',
      'davit_operation_oldest_seconds{operation="pull-image"} 0',
    ]);
  });
});

describe("PullSeries", () => {
  test("bounds the registries, and failing names do not take the place of those that serve", () => {
    const registry = new Registry();
    const pulls = new PullSeries(registry);
    for (let at = 0; at < 100; at++) pulls.failed(`made-${at}.test`, "unavailable");
    pulls.received("good.test", 10);
    pulls.received("good.test", 5);
    pulls.layer("good.test", "fetched");
    pulls.failed("good.test", "not-found");
    assert.equal(samples(registry, /failures/).length, 16 + 1 + 1);
    assert.deepEqual(samples(registry, /good|other/), [
      'davit_image_pull_bytes_total{registry="good.test"} 15',
      'davit_image_pull_layers_total{registry="good.test",source="fetched"} 1',
      'davit_image_pull_failures_total{registry="other",reason="unavailable"} 84',
      'davit_image_pull_failures_total{registry="good.test",reason="not-found"} 1',
    ]);
    for (let at = 0; at < 100; at++) pulls.received(`many-${at}.test`, 1);
    assert.deepEqual(samples(registry, /bytes.*other/), [
      'davit_image_pull_bytes_total{registry="other"} 85',
    ]);
  });
});

describe("pluginSeries()", () => {
  test("measures plugins by command, with failures from 0 on, and bounds their names", () => {
    const registry = new Registry();
    const ran = pluginSeries(registry);
    ran({ plugin: "bridge", command: "ADD", tookMs: 20, failed: false });
    assert.deepEqual(samples(registry, /failures|_sum/), [
      'davit_cni_plugin_duration_seconds_sum{plugin="bridge",command="ADD"} 0.02',
      'davit_cni_plugin_failures_total{plugin="bridge",command="ADD"} 0',
    ]);
    for (let at = 0; at < 100; at++)
      ran({ plugin: `p${at}`, command: "DEL", tookMs: 1, failed: true });
    assert.equal(samples(registry, /failures/).length, 17);
    assert.deepEqual(samples(registry, /failures.*other/), [
      'davit_cni_plugin_failures_total{plugin="other",command="DEL"} 85',
    ]);
  });
});

describe("nriSeries()", () => {
  test("measures plugins by event, counts failures, and bounds the names", () => {
    const registry = new Registry();
    const called = nriSeries(registry);
    const event = "CreateContainer";
    called({ plugin: "10-a", event, tookMs: 2, outcome: "ok" });
    called({ plugin: "10-a", event, tookMs: 3, outcome: "refused" });
    assert.deepEqual(samples(registry, /failures|_sum|_count/), [
      'davit_nri_plugin_duration_seconds_sum{plugin="10-a",event="CreateContainer"} 0.005',
      'davit_nri_plugin_duration_seconds_count{plugin="10-a",event="CreateContainer"} 2',
      'davit_nri_plugin_failures_total{plugin="10-a",event="CreateContainer",outcome="refused"} 1',
    ]);
    for (let at = 0; at < 100; at++) {
      called({ plugin: `20-p${at}`, event, tookMs: 1, outcome: "dropped" });
    }
    assert.deepEqual(samples(registry, /failures.*other/), [
      'davit_nri_plugin_failures_total{plugin="other",event="CreateContainer",outcome="dropped"} 85',
    ]);
  });
});

describe("ExitSeries", () => {
  test("counts each exit once, by its reason", () => {
    const registry = new Registry();
    const exits = new ExitSeries(registry);
    const state = {
      name: "exited",
      startedAtNs: 1n,
      finishedAtNs: 2n,
      exitCode: 137,
      reason: "OOMKilled",
      message: "",
    } as const;
    exits.changed({ state: { name: "created" } }, "updated");
    exits.changed({ state }, "updated");
    // Another change of the container, and its removal.
    exits.changed({ state }, "updated");
    exits.changed({ state }, "removed");
    exits.changed({ state: { ...state, reason: "Completed" } }, "listed");
    assert.deepEqual(samples(registry, /exits.*(OOM|Comp)/), [
      'davit_container_exits_total{reason="Completed"} 0',
      'davit_container_exits_total{reason="OOMKilled"} 1',
    ]);
  });
});

describe("delaySeconds()", () => {
  test("leaves out the time between two samples", () => {
    assert.deepEqual([19e6, 20e6, 270e6].map(delaySeconds), [0, 0, 0.25]);
  });
});

describe("ProcessSeries", () => {
  test("has a summary of the event loop's delay, the version and the descriptors", async () => {
    const registry = new Registry();
    using process = new ProcessSeries(registry, "1.2.3");
    await process.refresh();
    const count = (): number =>
      Number(samples(registry, /delay_seconds_count/)[0]?.split(" ")[1] ?? 0);
    while (count() < 3) await new Promise((resolve) => setTimeout(resolve, 5));
    const delays = samples(registry, /quantile=/).map((line) => Number(line.split(" ")[1]));
    assert.equal(delays.length, 4);
    assert.deepEqual(
      delays.toSorted((a, b) => a - b),
      delays,
    );
    assert.match(registry.text(), /davit_build_info\{version="1\.2\.3",node="v/);
    assert.ok(Number(samples(registry, /open_fds/)[0]?.split(" ")[1]) > 3);
  });
});
