import { pidsLimitAnnotation, removeAfterAnnotation } from "../../client/pods/annotations.ts";
import type { ContainerManifest } from "../../manifest/index.ts";
import type { Options } from "../command-line/options.ts";
import { readEnv } from "./env.ts";
import { readHosts } from "./hosts.ts";
import { readMounts } from "./mounts.ts";
import { baseName } from "./name.ts";
import { readPorts } from "./ports.ts";
import { sizeQuantity } from "./sizes.ts";
import type { PathKind } from "./target.ts";
import { readUlimits } from "./ulimits.ts";
import { readUser } from "./user.ts";

/** A container that davit run was asked for. */
export interface ImageRequest {
  readonly image: string;
  /** The command, which replaces that of the image. */
  readonly command: readonly string[];
  readonly options: Options;
  /** The container has a terminal: --tty is set and there is one. */
  readonly terminal: boolean;
}

/** What a manifest depends on besides the request. */
export interface ManifestContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly kindAt: (path: string) => PathKind;
}

/** The annotation that gives a pod no network. */
const networkAnnotation = "davit.network";

/**
 * The Pod manifest of a request, with all of its options. Fields that have their default are left out. Throws a
 * UsageError for options that are invalid.
 */
export function imageManifest(
  request: ImageRequest,
  podName: string,
  context: ManifestContext,
): Readonly<Record<string, unknown>> {
  const { options } = request;
  const mounts = readMounts(options, context.kindAt);
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: metadataOf(request, podName),
    spec: {
      restartPolicy: "Never",
      ...spec(options),
      containers: [container(request, mounts, context)],
      ...(mounts.length > 0 && { volumes: mounts.map(({ volume }) => volume) }),
    },
  };
}

/** What the options say about the container that a Pod has no fields for. */
export function beyondManifest(options: Options): Pick<ContainerManifest, "username" | "ulimits"> {
  const user = readUser(options);
  const ulimits = readUlimits(options);
  return {
    ...(user !== undefined && "username" in user && { username: user.username }),
    ...(ulimits.length > 0 && { ulimits }),
  };
}

/** Whether the server removes the pod: with --detach and --rm, no command stays for it. */
export function isRemovedByServer(options: Options): boolean {
  return options.has("detach") && options.has("rm");
}

function metadataOf({ image, options }: ImageRequest, name: string): object {
  const namespace = options.text("namespace");
  const labels = pairs(options, "label");
  const pids = options.count("pids-limit");
  const annotations = {
    ...pairs(options, "annotation"),
    ...(options.text("network") === "none" && { [networkAnnotation]: "none" }),
    ...(pids !== undefined && { [pidsLimitAnnotation]: String(pids) }),
    ...(isRemovedByServer(options) && { [removeAfterAnnotation]: baseName(image) }),
  };
  return {
    name,
    ...(namespace !== undefined && { namespace }),
    ...unlessEmpty({ labels }),
    ...unlessEmpty({ annotations }),
  };
}

/** The fields of the pod's spec besides containers and volumes. */
function spec(options: Options): object {
  const hostname = options.text("hostname");
  const runtimeClassName = options.text("runtime");
  const grace = options.count("stop-timeout");
  const hostAliases = readHosts(options);
  return {
    ...(hostname !== undefined && { hostname }),
    ...(options.text("network") === "host" && { hostNetwork: true }),
    ...(options.text("pid") === "host" && { hostPID: true }),
    ...(options.text("ipc") === "host" && { hostIPC: true }),
    ...(options.text("userns") === "auto" && { hostUsers: false }),
    ...(options.has("init") && { shareProcessNamespace: true }),
    ...(runtimeClassName !== undefined && { runtimeClassName }),
    ...(grace !== undefined && { terminationGracePeriodSeconds: grace }),
    ...dns(options),
    ...(hostAliases.length > 0 && { hostAliases }),
    ...unlessEmpty({ securityContext: podSecurity(options) }),
  };
}

function dns(options: Options): object {
  const nameservers = options.texts("dns");
  const searches = options.texts("dns-search");
  const list = options.texts("dns-option").map((option) => {
    const [name = "", value] = option.split(":");
    return value === undefined ? { name } : { name, value };
  });
  const dnsConfig = {
    ...(nameservers.length > 0 && { nameservers }),
    ...(searches.length > 0 && { searches }),
    ...(list.length > 0 && { options: list }),
  };
  return { ...(nameservers.length > 0 && { dnsPolicy: "None" }), ...unlessEmpty({ dnsConfig }) };
}

function podSecurity(options: Options): object {
  const groups = options.texts("group-add").map((text) => numericId(options, "group-add", text));
  const sysctls = Object.entries(options.pairs("sysctl")).map(([name, value]) => ({ name, value }));
  return {
    ...(groups.length > 0 && { supplementalGroups: groups }),
    ...(sysctls.length > 0 && { sysctls }),
  };
}

const pullPolicies: Readonly<Record<string, string>> = { always: "Always", never: "Never" };

function container(
  { image, command, options, terminal }: ImageRequest,
  mounts: ReturnType<typeof readMounts>,
  { env: own }: ManifestContext,
): object {
  const entrypoint = options.text("entrypoint");
  const workingDir = options.text("workdir");
  const env = readEnv(options, own).map(({ name, value }) => ({ name, value: literal(value) }));
  const ports = readPorts(options);
  const interactive = options.has("interactive");
  return {
    name: baseName(image),
    image,
    imagePullPolicy: pullPolicies[options.text("pull") ?? ""] ?? "IfNotPresent",
    ...(entrypoint !== undefined && { command: [literal(entrypoint)] }),
    ...(command.length > 0 && { args: command.map(literal) }),
    ...(workingDir !== undefined && { workingDir }),
    ...(interactive && { stdin: true }),
    // The end of this command's stdin is the end of the container's. A terminal outlives those who leave it.
    ...(interactive && !terminal && { stdinOnce: true }),
    ...(terminal && { tty: true }),
    ...(env.length > 0 && { env }),
    ...(ports.length > 0 && { ports }),
    ...unlessEmpty({ resources: resources(options) }),
    ...(mounts.length > 0 && { volumeMounts: mounts.map(({ mount }) => mount) }),
    ...unlessEmpty({ securityContext: containerSecurity(options) }),
  };
}

function resources(options: Options): object {
  const memory = options.text("memory");
  const cpu = options.text("cpus");
  if (cpu !== undefined && !(/^\d*\.?\d+$/.test(cpu) && Number(cpu) > 0)) {
    throw options.invalid("cpus", `is "${cpu}": must be a number of CPUs, such as 0.5 or 2`);
  }
  const limits = {
    ...(memory !== undefined && { memory: sizeQuantity(options, "memory", memory) }),
    ...(cpu !== undefined && { cpu }),
  };
  return unlessEmpty({ limits });
}

function containerSecurity(options: Options): object {
  const capability = (text: string): string => text.toUpperCase().replace(/^CAP_/, "");
  const add = options.texts("cap-add").map(capability);
  const drop = options.texts("cap-drop").map(capability);
  const capabilities = { ...(add.length > 0 && { add }), ...(drop.length > 0 && { drop }) };
  return {
    ...user(options),
    ...(options.has("read-only") && { readOnlyRootFilesystem: true }),
    ...(options.has("privileged") && { privileged: true }),
    ...unlessEmpty({ capabilities }),
    ...options
      .texts("security-opt")
      .reduce<object>((all, text) => ({ ...all, ...profile(options, text) }), {}),
  };
}

function profile(options: Options, text: string): object {
  switch (text.replace(":", "=")) {
    case "no-new-privileges":
    case "no-new-privileges=true":
      return { allowPrivilegeEscalation: false };
    case "seccomp=unconfined":
      return { seccompProfile: { type: "Unconfined" } };
    case "apparmor=unconfined":
      return { appArmorProfile: { type: "Unconfined" } };
    default:
      throw options.invalid(
        "security-opt",
        `is "${text}": must be no-new-privileges, seccomp=unconfined or apparmor=unconfined; ` +
          "profiles and SELinux labels are fields of a manifest",
      );
  }
}

function user(options: Options): object {
  const read = readUser(options);
  return read === undefined || "username" in read ? {} : read;
}

/** Names are in the image, which a manifest does not know. */
function numericId(options: Options, name: string, text: string): number {
  if (/^\d{1,10}$/.test(text)) return Number(text);
  throw options.invalid(
    name,
    `has "${text}": must be a number, as in Kubernetes; "davit run --rm IMAGE id ${text}" prints that of a name`,
  );
}

/** Values that are not KEY=VALUE have an empty value, as in docker. */
function pairs(options: Options, name: string): Record<string, string> {
  return Object.fromEntries(
    options.texts(name).map((text) => {
      const at = text.indexOf("=");
      if (at === 0) throw options.invalid(name, `is "${text}": must be KEY=VALUE`);
      return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
    }),
  );
}

/** Kubernetes replaces $(NAME) in commands and variables, and $$ is a $ there; docker does neither. */
function literal(text: string): string {
  return text.replace(/\$(?=[$(])/g, "$$$$");
}

/** The object, or an empty one if its only member is empty. */
function unlessEmpty(object: Readonly<Record<string, object>>): object {
  return Object.values(object).every((value) => Object.keys(value).length === 0) ? {} : object;
}
