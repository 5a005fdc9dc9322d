import assert from "node:assert/strict";
import { test } from "node:test";
import { defaultConfig } from "./load.ts";

test("defaultConfig() returns the documented defaults", () => {
  const config = defaultConfig();
  assert.equal(config.root, "/var/lib/davit");
  assert.equal(config.state, "/run/davit");
  assert.deepEqual(config.server, {
    listen: "/run/davit/davit.sock",
    group: "",
    maxMessageBytes: 16_777_216,
  });
  assert.deepEqual(config.log, { level: "info" });
  assert.deepEqual(config.cadvisor, {
    serve: "auto",
    listen: "/run/containerd/containerd.sock",
  });
  assert.deepEqual(config.metrics, { listen: "" });
  assert.deepEqual(config.images, {
    registryConfigPath: "/etc/davit/certs.d",
    registriesConf: "/etc/containers/registries.conf",
    dockerConfig: "",
    credentialProvidersConfig: "",
    credentialProvidersBinDir: "",
    decryptionKeysPath: "",
    pinned: [],
    preloadDir: "",
    volumes: "copy",
    maxConcurrentDownloads: 3,
    concurrentRanges: 4,
    maxConcurrentUnpacks: 2,
    layerFormat: "directory",
    layerVerity: "auto",
    maxLayers: 500,
    maxUnpackedBytes: 1_099_511_627_776,
    maxUnpackedRatio: 200,
    maxLayerEntries: 4_000_000,
    trustPresentLayers: false,
    gcUnusedLayersSeconds: 600,
    gcUnusedImagesSeconds: 0,
    gcHighPercent: 0,
    gcLowPercent: 80,
    verification: {
      bindir: "",
      bindirTimeoutSeconds: 10,
      maxVerifiers: 10,
      policyJson: "/etc/containers/policy.json",
      policyJsonDirectory: "",
      loaded: "verify",
      otherImages: "accept",
      policies: [],
    },
  });
  assert.deepEqual(config.cni, {
    confDir: "/etc/cni/net.d",
    binDirs: ["/opt/cni/bin", "/usr/lib/cni"],
    builtin: true,
    maxParallel: 8,
    pluginTimeoutSeconds: 60,
  });
  assert.deepEqual(config.cdi, { enable: true, specDirs: ["/etc/cdi", "/var/run/cdi"] });
  const { handlers, ...runtime } = config.runtime;
  assert.deepEqual(runtime, {
    defaultHandler: "crun",
    cgroupDriver: "cgroupfs",
    monitor: "davit",
    monitorPath: "conmon",
    logSizeMax: 0,
    exec: "davit",
    logRoots: ["/var/log"],
    createTimeoutSeconds: 120,
    retryHoldSeconds: 120,
    deviceOwnershipFromSecurityContext: false,
    seccompAllowSocketcall: false,
    selinux: false,
    writableLayerLimit: 0,
    writableLayerLimitMax: 0,
    writableLayerFirstProject: 1_073_741_824,
    ptraceInSharedPid: "allow",
    userNamespaces: "requested",
    userNamespaceFirstId: 0,
    userNamespaceIds: 65_536,
    blockioConfigFile: "",
    rdtConfigFile: "",
    ignoreBlockioNotEnabledErrors: false,
    ignoreRdtNotEnabledErrors: false,
  });
  assert.deepEqual(Object.keys(handlers), ["crun", "runc"]);
  assert.deepEqual(handlers["runc"], {
    controller: "podsandbox",
    path: "runc",
    runtimeType: "",
    runtimePath: "",
    ioType: "fifo",
    options: {},
    podAnnotations: [],
    containerAnnotations: [],
    privilegedWithoutHostDevices: false,
    privilegedWithoutHostDevicesAllDevicesAllowed: false,
    cgroupWritable: false,
    hooksDir: "",
    writableLayerLimit: -1,
    userNamespaces: "",
    baseRuntimeSpec: "",
    cniConfDir: "",
    defaultAnnotations: {},
    seccompProfile: "",
    createTimeoutSeconds: 0,
    execCpuAffinity: "",
  });
});
