import assert from "node:assert/strict";
import { test } from "node:test";
import { parseFeatures } from "./features.ts";

const crun = (version: string, linux: object = {}) =>
  parseFeatures({ linux, annotations: { "run.oci.crun.version": version } }).optionalFields;
const runc = (version: string, linux: object = {}) =>
  parseFeatures({ linux, annotations: { "org.opencontainers.runc.version": version } })
    .optionalFields;

test("parseFeatures() knows optional fields by what a runtime reports, and by its version", () => {
  const priorities = ["process.scheduler", "process.ioPriority"];
  const affinity = "process.execCPUAffinity";
  assert.deepEqual(crun("1.8.4"), []);
  assert.deepEqual(crun("1.21", { intelRdt: { enabled: true } }), [
    ...priorities,
    affinity,
    "linux.intelRdt",
  ]);
  assert.deepEqual(
    crun("1.24.1", { netDevices: { enabled: true }, memoryPolicy: {}, intelRdt: {} }),
    [
      ...priorities,
      affinity,
      "linux.netDevices",
      "linux.memoryPolicy",
      "linux.intelRdt.enableMonitoring",
    ],
  );
  assert.deepEqual(runc("1.1.15+ds1"), []);
  assert.deepEqual(
    runc("1.4.0", { intelRdt: { enabled: true, schemata: true, monitoring: true } }),
    [...priorities, "linux.intelRdt", "linux.intelRdt.schemata", "linux.intelRdt.enableMonitoring"],
  );
  for (const json of [null, {}, { linux: {} }, { annotations: {} }]) {
    assert.deepEqual(parseFeatures(json).optionalFields, []);
  }
});

test("parseFeatures() knows by versions which runtimes choose the CPUs of commands", () => {
  const affinity = (features: object): boolean | undefined =>
    parseFeatures(features).optionalFields?.includes("process.execCPUAffinity");
  const ofCrun = (version: string) => ({
    ociVersionMax: "1.1.0+dev",
    annotations: { "run.oci.crun.version": version },
  });
  assert.deepEqual(["1.18.2", "1.19", "1.21", "2.0"].map(ofCrun).map(affinity), [
    false,
    true,
    true,
    true,
  ]);
  const spec = (ociVersionMax: unknown) => ({ ociVersionMax });
  assert.deepEqual(["1.2.0", "1.2.1", "1.3.0", 7].map(spec).map(affinity), [
    false,
    true,
    true,
    false,
  ]);
});

test("parseFeatures() knows whether a runtime was built with CRIU", () => {
  const enabled = (value: unknown) =>
    parseFeatures({ annotations: { "org.opencontainers.runc.checkpoint.enabled": value } });
  assert.equal(enabled("true").checkpoints, true);
  for (const json of [enabled("false"), enabled(true), parseFeatures({}), parseFeatures(null)]) {
    assert.equal(json.checkpoints, false);
  }
});
