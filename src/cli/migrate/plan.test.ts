import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { defaultConfig } from "../../config/load.ts";
import { NodeFiles } from "../import-config/node-files.ts";
import { examineNode } from "./examine-node.ts";
import { readKubeletEndpoint } from "./kubelet-endpoint.ts";
import { formatPlan } from "./plan.ts";

function nodeOf(t: TestContext, files: Readonly<Record<string, string>>): NodeFiles {
  const root = mkdtempSync(path.join(tmpdir(), "davit-plan-"));
  t.after(() => rmSync(root, { recursive: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(root, name)), { recursive: true });
    writeFileSync(path.join(root, name), text);
  }
  return new NodeFiles(root);
}

const flags = "/var/lib/kubelet/kubeadm-flags.env";
const config = "/var/lib/kubelet/config.yaml";

test("readKubeletEndpoint() reads flags, then configurations", (t) => {
  const flag = {
    [flags]: 'KUBELET_KUBEADM_ARGS="--container-runtime-endpoint=unix:///a.sock --x"\n',
  };
  const file = {
    [config]: "kind: KubeletConfiguration\ncontainerRuntimeEndpoint: unix:///b.sock\n",
  };
  const ofFlag = { endpoint: "unix:///a.sock", file: flags, isFlag: true };
  assert.deepEqual(readKubeletEndpoint(nodeOf(t, { ...flag, ...file })), ofFlag);
  const ofFile = { endpoint: "unix:///b.sock", file: config, isFlag: false };
  assert.deepEqual(readKubeletEndpoint(nodeOf(t, file)), ofFile);
  assert.equal(readKubeletEndpoint(nodeOf(t, { [config]: "a: [" })), undefined);
  assert.equal(readKubeletEndpoint(nodeOf(t, {})), undefined);
});

test("formatPlan() prints the commands for a node of containerd that does not answer", async (t) => {
  const node = nodeOf(t, {
    [config]: "containerRuntimeEndpoint: unix:///nowhere/containerd.sock\n",
    "/etc/cni/net.d/10-net.conflist": '{"plugins": [{"type": "portmap"}]}',
  });
  const plan = formatPlan(await examineNode(node, defaultConfig(), undefined));
  assert.match(
    plan,
    /kubelet +unix:\/\/\/nowhere\/containerd\.sock, from \/var\/lib\/kubelet\/config\.yaml/,
  );
  assert.match(plan, /runtime +\/nowhere\/containerd\.sock does not answer: /);
  assert.match(plan, /\/etc\/cni\/net\.d is used by both.*10-net\.conflist/);
  assert.match(plan, /portmap removes the rules/);
  assert.match(plan, /davit config import containerd -o/);
  assert.match(plan, /davit migrate images --address \/nowhere\/containerd\.sock/);
  assert.match(
    plan,
    /sed -i '.*: unix:\/\/\/run\/davit\/davit\.sock\|' \/var\/lib\/kubelet\/config\.yaml/,
  );
  assert.match(
    plan,
    /And back[^]*ctr -a \/nowhere\/containerd\.sock -n k8s\.io images import images\.tar/,
  );
  assert.match(plan, /And back[^]*sed -i '.*: unix:\/\/\/nowhere\/containerd\.sock\|'/);
});

test("formatPlan() prints skopeo and pulls for CRI-O, whose CNI directory differs", async (t) => {
  const crio = '[crio.network]\nnetwork_dir = "/etc/kubernetes/cni/net.d"\n';
  const node = nodeOf(t, { "/etc/crio/crio.conf": crio });
  const plan = formatPlan(await examineNode(node, defaultConfig(), "crio"));
  assert.match(
    plan,
    /set cni\.conf_dir to \/etc\/kubernetes\/cni\/net\.d; no configuration is there/,
  );
  assert.match(plan, /skopeo copy containers-storage:IMAGE/);
  assert.match(plan, /systemctl disable --now crio/);
});

test("the way back leads to the old runtime, also when kubelet uses davit by now", async (t) => {
  const node = nodeOf(t, { [config]: "containerRuntimeEndpoint: unix:///run/davit/davit.sock\n" });
  const plan = formatPlan(await examineNode(node, defaultConfig(), "crio"));
  assert.match(plan, /And back[^]*sed -i '.*: unix:\/\/\/var\/run\/crio\/crio\.sock\|'/);
});

test("a socket of kubelet whose name tells nothing is that of the runtime", async (t) => {
  const node = nodeOf(t, { [config]: "containerRuntimeEndpoint: unix:///nowhere/c.sock\n" });
  const plan = formatPlan(await examineNode(node, defaultConfig(), "containerd"));
  assert.match(plan, /davit migrate images --address \/nowhere\/c\.sock/);
});

test("pods are named as what cannot be moved", async (t) => {
  const facts = await examineNode(nodeOf(t, {}), defaultConfig(), "containerd");
  const pods = Array.from({ length: 22 }, (_, index) => `default/web-${index}`);
  const running = { runtime: "containerd 2", pods, containers: 1, images: 0, imageBytes: 0n };
  const plan = formatPlan({ ...facts, running });
  assert.match(plan, /containerd 2 at .*: 22 pods, 1 running container\n/);
  assert.match(plan, /pods +default\/web-0, .*default\/web-19 and 2 more: they cannot be moved/);
  assert.doesNotMatch(formatPlan({ ...facts, running: { ...running, pods: [] } }), /  pods  /);
});
