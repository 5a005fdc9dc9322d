// When a change of each key takes effect: the reload of a running daemon, the notes of docs/configuration.md and
// of `davit config show` use this table. A key of the schema that is not in it does not compile.
import type { Config } from "./config.ts";
import type { nriValidator } from "./nri-settings.ts";
import { type sections, tomlKey, type topLevel } from "./schema.ts";
import type { verificationSection } from "./verification-settings.ts";

/** "reload": with SIGHUP or `davit reload`. "restart": with the next start of the daemon. */
export type TakesEffect = "reload" | "restart";

type Keys<S> = { readonly [K in keyof S]: TakesEffect };
type Sections = {
  readonly [N in keyof typeof sections]: Keys<(typeof sections)[N]["settings"]>;
};

/** The keys of a table without tables of its own; see `inner` for those. */
const bySection: Sections = {
  server: { listen: "restart", group: "restart", maxMessageBytes: "restart" },
  log: { level: "reload" },
  images: {
    registryConfigPath: "reload",
    registriesConf: "reload",
    dockerConfig: "reload",
    credentialProvidersConfig: "reload",
    credentialProvidersBinDir: "reload",
    decryptionKeysPath: "reload",
    pinned: "reload",
    preloadDir: "restart",
    volumes: "reload",
    maxConcurrentDownloads: "reload",
    concurrentRanges: "reload",
    maxConcurrentUnpacks: "restart",
    layerFormat: "restart",
    layerVerity: "restart",
    maxLayers: "reload",
    maxUnpackedBytes: "reload",
    maxUnpackedRatio: "reload",
    maxLayerEntries: "reload",
    trustPresentLayers: "reload",
    gcUnusedLayersSeconds: "reload",
    gcUnusedImagesSeconds: "reload",
    gcHighPercent: "reload",
    gcLowPercent: "reload",
  },
  cni: {
    confDir: "reload",
    binDirs: "reload",
    builtin: "reload",
    maxParallel: "reload",
    pluginTimeoutSeconds: "reload",
  },
  cdi: { enable: "reload", specDirs: "reload" },
  runtime: {
    defaultHandler: "reload",
    cgroupDriver: "restart",
    monitor: "restart",
    monitorPath: "restart",
    logSizeMax: "restart",
    exec: "restart",
    logRoots: "restart",
    createTimeoutSeconds: "reload",
    retryHoldSeconds: "restart",
    deviceOwnershipFromSecurityContext: "reload",
    seccompAllowSocketcall: "reload",
    selinux: "restart",
    writableLayerLimit: "restart",
    writableLayerLimitMax: "restart",
    writableLayerFirstProject: "restart",
    ptraceInSharedPid: "reload",
    userNamespaces: "restart",
    userNamespaceFirstId: "restart",
    userNamespaceIds: "restart",
    blockioConfigFile: "restart",
    rdtConfigFile: "restart",
    ignoreBlockioNotEnabledErrors: "restart",
    ignoreRdtNotEnabledErrors: "restart",
  },
  streaming: {
    address: "restart",
    port: "restart",
    tls: "restart",
    tlsCertFile: "restart",
    tlsKeyFile: "restart",
    idleTimeoutSeconds: "reload",
    creationTimeoutSeconds: "reload",
  },
  cadvisor: { serve: "restart", listen: "restart" },
  checkpoint: { restore: "reload", restoreContainers: "reload", maxBytes: "reload" },
  nri: {
    enable: "restart",
    socketPath: "restart",
    pluginPath: "restart",
    pluginConfigPath: "restart",
    pluginRegistrationTimeout: "reload",
    pluginRequestTimeout: "reload",
    disableConnections: "restart",
  },
  tracing: {
    endpoint: "reload",
    protocol: "reload",
    headers: "reload",
    samplingRatio: "reload",
    serviceName: "reload",
  },
  metrics: { listen: "reload" },
  tuning: { enable: "restart" },
};

const ofTopLevel: Keys<typeof topLevel> = {
  root: "restart",
  state: "restart",
  writableRoot: "restart",
};

const ofVerification: Keys<typeof verificationSection> & { readonly policies: TakesEffect } = {
  bindir: "reload",
  bindirTimeoutSeconds: "reload",
  maxVerifiers: "reload",
  policyJson: "reload",
  policyJsonDirectory: "reload",
  loaded: "reload",
  otherImages: "reload",
  policies: "reload",
};

const ofValidator: Keys<typeof nriValidator> = {
  enable: "reload",
  rejectOciHookAdjustment: "reload",
  rejectRuntimeDefaultSeccompAdjustment: "reload",
  rejectUnconfinedSeccompAdjustment: "reload",
  rejectCustomSeccompAdjustment: "reload",
  rejectNamespaceAdjustment: "reload",
  rejectSysctlAdjustment: "reload",
  requiredPlugins: "reload",
  tolerateMissingPluginsAnnotation: "reload",
};

/** By the path of their keys in the file; a table stands for all keys in it. */
const byPath: ReadonlyMap<string, TakesEffect> = new Map([
  ...paths("", ofTopLevel),
  ...Object.entries(bySection).flatMap(([name, keys]) => paths(`${name}.`, keys)),
  ...paths("images.verification.", ofVerification),
  ...paths("nri.default_validator.", ofValidator),
  // A handler that needs what the daemon has loaded only at its start waits for a restart all the same.
  ["runtime.handlers", "reload"],
]);

function paths(prefix: string, keys: object): [string, TakesEffect][] {
  return Object.entries(keys as Keys<Record<string, unknown>>).map(([field, effect]) => [
    `${prefix}${tomlKey(field)}`,
    effect,
  ]);
}

/** When a change of a key takes effect, by the names of its tables and its own. Throws for one that is not in the schema. */
export function takesEffect(path: readonly string[]): TakesEffect {
  for (let length = path.length; length > 0; length--) {
    const effect = byPath.get(path.slice(0, length).join("."));
    if (effect !== undefined) return effect;
  }
  throw new Error(`no setting: ${path.join(".")}`);
}

/** A running daemon's next configuration: `next`, with the values of `current` for keys that need a restart. */
export function reloadable(current: Config, next: Config): Config {
  return mixed(current, next, []) as Config;
}

function mixed(current: object, next: object, at: readonly string[]): object {
  const before = new Map<string, unknown>(Object.entries(current));
  return Object.fromEntries(
    Object.entries(next).map(([field, value]: [string, unknown]) => {
      const path = [...at, tomlKey(field)];
      const effect = byPath.get(path.join("."));
      const old = before.get(field);
      if (effect !== undefined) return [field, effect === "reload" ? value : old];
      return [field, mixed(old as object, value as object, path)];
    }),
  );
}
