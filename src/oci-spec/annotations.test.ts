import assert from "node:assert/strict";
import { test } from "node:test";
import { specAnnotations } from "./annotations.ts";
import { containerSpec } from "./generate.ts";
import { specInput } from "./testing/spec-input.ts";

test("specAnnotations() names pod and container, also against the request", () => {
  const annotations = specAnnotations(
    specInput(
      { annotations: { "example.org/of-the-request": "x" } },
      { annotations: { "example.org/let-through": "y", "io.kubernetes.cri.sandbox-name": "z" } },
    ),
  );
  assert.deepEqual(annotations, {
    "example.org/let-through": "y",
    "io.kubernetes.cri.container-type": "container",
    "io.kubernetes.cri.sandbox-id": "s1",
    "io.kubernetes.cri.sandbox-name": "pod-1",
    "io.kubernetes.cri.sandbox-namespace": "default",
    "io.kubernetes.cri.sandbox-uid": "uid-1",
    "io.kubernetes.cri.container-name": "web",
    "io.kubernetes.cri.image-name": "example.org/app:1",
  });
});

test("specAnnotations() keeps crun from making a cgroup below a scope of systemd's", () => {
  const input = specInput({}, { cgroupPath: "kubepods-pod1.slice:cri-containerd:c1" });
  assert.equal(specAnnotations(input)["run.oci.systemd.subgroup"], "");
  assert.match(specAnnotations(input)["org.systemd.property.TasksMax"] ?? "", /^uint64 /);
  const plain = specAnnotations(specInput({}, { cgroupPath: "/kubepods/pod1/c1" }));
  assert.equal("run.oci.systemd.subgroup" in plain, false);
});

test("specAnnotations() has no label of the image, whatever its name (the class of CVE-2026-53488)", () => {
  const input = specInput();
  const labels = {
    "run.oci.handler": "krun",
    "io.kubernetes.cri.container-name": "other",
    "cdi.k8s.io/gpu": "example.org/gpu=all",
    "org.criu.config": "/etc/shadow",
  };
  const labelled = { ...input, image: { ...input.image, labels } };
  assert.deepEqual(specAnnotations(labelled), specAnnotations(input));
  assert.deepEqual(containerSpec(labelled), containerSpec(input));
});
