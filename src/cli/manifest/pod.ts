import { randomUUID } from "node:crypto";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { isScalar, LineCounter, parseAllDocuments } from "yaml";
import { RuntimeError } from "../../base/errors.ts";
import {
  NamespaceMode,
  type PodSandboxConfig,
  PodSandboxConfigSchema,
  Protocol,
  SecurityProfile_ProfileType,
} from "../../gen/runtime/v1/api_pb.ts";
import { type ContainerManifest, type PortManifest, readContainers } from "./container.ts";
import { Fields, type ManifestFinding, type ManifestText } from "./fields.ts";

/** A Kubernetes Pod as davit runs it. */
export interface PodManifest {
  readonly sandbox: PodSandboxConfig;
  /** spec.runtimeClassName, taken as the name of a handler; "" for the default one. */
  readonly runtimeHandler: string;
  readonly containers: readonly ContainerManifest[];
  readonly restartPolicy: "Always" | "OnFailure" | "Never";
  readonly terminationGracePeriodSeconds: number;
}

/** What a manifest leaves to the node. */
export interface PodNode {
  /** The folder for logs of pods; each gets one in it, named as kubelet does. */
  readonly logRoot: string;
  /** The text of the node's resolv.conf, which spec.dnsConfig adds to. */
  readonly resolvConf: string;
  /** Makes the uid of a pod that has none. */
  readonly newUid?: () => string;
}

interface Dns {
  readonly servers: string[];
  readonly searches: string[];
  readonly options: string[];
}

// RFC 1123, as Kubernetes checks names: at most 253 and 63 letters.
const SUBDOMAIN = /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/;
const LABEL = /^(?=.{1,63}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?$/;
const LOWER_CASE = 'lower-case letters, digits and "-"';

/**
 * Reads the Pods of a YAML text (more than one are separated by `---`) and makes of each what
 * kubelet would ask the runtime for: see kubelet's generatePodSandboxConfig.
 *
 * Throws `invalid-argument` naming every field that is wrong or that davit does not do, with its
 * line. `file` is what the error calls the text.
 */
export function parsePodManifests(yaml: string, file: string, node: PodNode): PodManifest[] {
  const lines = new LineCounter();
  const documents = parseAllDocuments(yaml, { lineCounter: lines, uniqueKeys: true });
  const findings: ManifestFinding[] = [];
  const pods: PodManifest[] = [];
  for (const document of documents) {
    for (const error of document.errors) {
      const message = error.message.split(/ at line |\n/)[0] ?? "";
      findings.push({ line: lines.linePos(error.pos[0]).line, message: `not YAML: ${message}` });
    }
    if (document.errors.length > 0 || isEmpty(document.contents)) continue;
    pods.push(readPod({ document, lines, findings }, node));
  }
  if (findings.length > 0) {
    const all = findings.map(({ line, message }) => `${message} (line ${line})`);
    throw new RuntimeError("invalid-argument", `read pod manifest "${file}": ${all.join("; ")}`);
  }
  if (pods.length === 0) {
    throw new RuntimeError(
      "invalid-argument",
      `read pod manifest "${file}": there is no Pod in it`,
    );
  }
  return pods;
}

/** As what follows a "---" at the end of a file. */
function isEmpty(contents: unknown): boolean {
  return contents === null || (isScalar(contents) && contents.value === null);
}

function readPod(text: ManifestText, node: PodNode): PodManifest {
  const top = new Fields(text, "", text.document.contents);
  for (const name of ["apiVersion", "kind", "metadata", "spec"]) top.require(name);
  top.choice("apiVersion", ["v1"]);
  top.choice("kind", ["Pod"]);
  const metadata = readMetadata(
    top.object("metadata") ?? new Fields(text, "metadata", undefined),
    node,
  );
  const spec = top.object("spec") ?? new Fields(text, "spec", undefined);
  const containers = readContainers(spec);
  const sandbox = create(PodSandboxConfigSchema, {
    metadata: { ...metadata.id, attempt: 0 },
    hostname: readHostname(spec, metadata.id.name),
    // The layout that kubelet and log collectors know.
    logDirectory: `${node.logRoot}/${metadata.id.namespace}_${metadata.id.name}_${metadata.id.uid}`,
    labels: metadata.labels,
    annotations: metadata.annotations,
    portMappings: containers.flatMap(({ ports }) => ports.map(asPortMapping)),
    linux: {
      securityContext: {
        namespaceOptions: readNamespaces(spec),
        seccomp: { profileType: SecurityProfile_ProfileType.RuntimeDefault },
      },
      sysctls: readSysctls(spec),
    },
    ...readDns(spec, node.resolvConf),
  });
  const pod: PodManifest = {
    sandbox,
    runtimeHandler: spec.string("runtimeClassName", SUBDOMAIN, LOWER_CASE) ?? "",
    containers,
    restartPolicy: spec.choice("restartPolicy", ["Always", "OnFailure", "Never"]) ?? "Always",
    terminationGracePeriodSeconds: spec.integer("terminationGracePeriodSeconds", 0, 2 ** 31) ?? 30,
  };
  acceptIfFalse(spec, "automountServiceAccountToken", "there is no API server to give a token");
  acceptIfFalse(spec, "enableServiceLinks", "there are no services");
  spec.refuseRest();
  top.refuseRest();
  return pod;
}

function readMetadata(
  fields: Fields,
  node: PodNode,
): {
  readonly id: { readonly name: string; readonly namespace: string; readonly uid: string };
  readonly labels: Record<string, string>;
  readonly annotations: Record<string, string>;
} {
  fields.require("name");
  const name = fields.string("name", SUBDOMAIN, LOWER_CASE) ?? "";
  const namespace = fields.string("namespace", LABEL, LOWER_CASE) ?? "default";
  const newUid = node.newUid ?? randomUUID;
  const uid = fields.string("uid", /^[\w.-]+$/, 'letters, digits, "-", "_" and "."') ?? newUid();
  const labels = fields.stringMap("labels");
  const annotations = fields.stringMap("annotations");
  fields.refuseRest();
  return {
    id: { name, namespace, uid },
    // kubelet adds these three; crictl and metrics agents look pods up by them.
    labels: {
      ...labels,
      "io.kubernetes.pod.name": name,
      "io.kubernetes.pod.namespace": namespace,
      "io.kubernetes.pod.uid": uid,
    },
    annotations,
  };
}

/** A pod on the host's network has the host's name, and the runtime is told none. */
function readHostname(spec: Fields, podName: string): string {
  const hostname = spec.string("hostname", LABEL, LOWER_CASE);
  if (spec.boolean("hostNetwork") !== true) {
    // Names of pods can be longer than names of hosts: kubelet cuts them the same way.
    return hostname ?? podName.slice(0, 63).replace(/[-.]+$/, "");
  }
  if (hostname !== undefined) {
    spec.refuse("hostname", "cannot be chosen with hostNetwork: the pod has the node's name");
  }
  return "";
}

function readNamespaces(spec: Fields): {
  readonly network: NamespaceMode;
  readonly pid: NamespaceMode;
  readonly ipc: NamespaceMode;
} {
  const host = (name: string): NamespaceMode =>
    spec.boolean(name) === true ? NamespaceMode.NODE : NamespaceMode.POD;
  const shared = spec.boolean("shareProcessNamespace") === true;
  if (shared && spec.boolean("hostPID") === true) {
    spec.refuse("shareProcessNamespace", "cannot be combined with hostPID");
  }
  if (spec.boolean("hostUsers") === false) {
    spec.refuse("hostUsers", "is false: davit has no user namespaces yet");
  }
  const ownPid = shared ? NamespaceMode.POD : NamespaceMode.CONTAINER;
  return {
    network: host("hostNetwork"),
    pid: spec.boolean("hostPID") === true ? NamespaceMode.NODE : ownPid,
    ipc: host("hostIPC"),
  };
}

function readSysctls(spec: Fields): Record<string, string> {
  const sysctls: Record<string, string> = {};
  const context = spec.object("securityContext");
  for (const entry of context?.objects("sysctls") ?? []) {
    entry.require("name");
    entry.require("value");
    const name = entry.string("name", /^[\w./-]+$/, "a sysctl's name, as net.core.somaxconn") ?? "";
    if (Object.hasOwn(sysctls, name)) entry.refuse("name", `is "${name}": it is there twice`);
    sysctls[name] = entry.string("value") ?? "";
    entry.refuseRest();
  }
  context?.refuseRest();
  return sysctls;
}

/** No dns_config makes the runtime copy the node's resolv.conf. There is no cluster to serve names. */
function readDns(spec: Fields, resolvConf: string): { readonly dnsConfig?: Dns } {
  const policies = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"] as const;
  const policy = spec.choice("dnsPolicy", policies) ?? "ClusterFirst";
  const fields = spec.object("dnsConfig");
  const own = readDnsConfig(fields);
  if (policy === "None") {
    if (own.servers.length === 0) {
      const line = fields === undefined ? "dnsPolicy" : "dnsConfig";
      spec.refuse(line, "needs dnsConfig.nameservers with dnsPolicy None");
    }
    return { dnsConfig: own };
  }
  return fields === undefined ? {} : { dnsConfig: mergeDns(parseResolvConf(resolvConf), own) };
}

function readDnsConfig(fields: Fields | undefined): Dns {
  const options = (fields?.objects("options") ?? []).map((option) => {
    option.require("name");
    const name = option.string("name") ?? "";
    const value = option.string("value");
    option.refuseRest();
    return value === undefined ? name : `${name}:${value}`;
  });
  const own = {
    servers: fields?.strings("nameservers") ?? [],
    searches: fields?.strings("searches") ?? [],
    options,
  };
  fields?.refuseRest();
  return own;
}

/** As kubelet: the pod's servers and searches after the node's, its options over the node's. */
function mergeDns(node: Dns, own: Dns): Dns {
  const optionName = (option: string): string => option.split(":")[0] ?? option;
  const overridden = new Set(own.options.map(optionName));
  return {
    servers: [...new Set([...node.servers, ...own.servers])],
    searches: [...new Set([...node.searches, ...own.searches])],
    options: [...node.options.filter((o) => !overridden.has(optionName(o))), ...own.options],
  };
}

/** resolv.conf(5): the last of several search lines counts, and so does domain as a search. */
function parseResolvConf(text: string): Dns {
  const dns: Dns = { servers: [], searches: [], options: [] };
  for (const line of text.split("\n")) {
    const [keyword, ...words] = line.trim().split(/\s+/);
    if (keyword === "nameserver") dns.servers.push(...words.slice(0, 1));
    if (keyword === "search" || keyword === "domain") {
      dns.searches.splice(0, dns.searches.length, ...words);
    }
    if (keyword === "options") dns.options.push(...words);
  }
  return dns;
}

/** kubelet sends every port; one without a host port only documents what a container listens on. */
function asPortMapping(
  port: PortManifest,
): NonNullable<MessageInitShape<typeof PodSandboxConfigSchema>["portMappings"]>[number] {
  const { containerPort, hostPort, hostIp } = port;
  return { protocol: Protocol[port.protocol], containerPort, hostPort, hostIp };
}

function acceptIfFalse(spec: Fields, name: string, why: string): void {
  if (spec.boolean(name) === true) spec.refuse(name, `is true: ${why}`);
}
