import assert from "node:assert/strict";
import { test } from "node:test";
import { parseFeatures } from "./features.ts";

test("parseFeatures() knows network devices by their feature, and CPUs of commands by versions", () => {
  const cpus = (features: object): boolean | undefined => parseFeatures(features).execCpuAffinity;
  const crun = (version: string) => ({
    ociVersionMax: "1.1.0+dev",
    annotations: { "run.oci.crun.version": version },
  });
  assert.deepEqual(["1.18.2", "1.19", "1.21", "2.0"].map(crun).map(cpus), [
    false,
    true,
    true,
    true,
  ]);
  const spec = (ociVersionMax: unknown) => ({ ociVersionMax });
  assert.deepEqual(["1.2.0", "1.2.1", "1.3.0", 7].map(spec).map(cpus), [false, true, true, false]);
  assert.equal(cpus({}), false);
  assert.equal(parseFeatures(null).netDevices, false);
  const enabled = { linux: { netDevices: { enabled: true } } };
  assert.equal(parseFeatures(enabled).netDevices, true);
});
