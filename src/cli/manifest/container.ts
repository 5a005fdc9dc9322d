import type { Fields } from "./fields.ts";

/** A container of a Pod, as its manifest describes it; Kubernetes' defaults are filled in. */
export interface ContainerManifest {
  readonly name: string;
  readonly image: string;
  readonly imagePullPolicy: "Always" | "IfNotPresent" | "Never";
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly workingDir: string;
  readonly env: readonly { readonly name: string; readonly value: string }[];
  readonly ports: readonly PortManifest[];
  /** Quantities as they are written: "100m", "64Mi". */
  readonly limits: Readonly<Record<string, string>>;
  readonly requests: Readonly<Record<string, string>>;
  readonly stdin: boolean;
  readonly tty: boolean;
}

/** One entry of a container's ports. */
export interface PortManifest {
  readonly protocol: "TCP" | "UDP" | "SCTP";
  readonly containerPort: number;
  /** 0 for none. */
  readonly hostPort: number;
  /** "" for every address of the host. */
  readonly hostIp: string;
}

const NAME = /^(?=.{1,63}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?$/;
const MAX_PORT = 65_535;

/** Reads spec.containers. What is wrong, or not something davit does, is noted at `spec`. */
export function readContainers(spec: Fields): ContainerManifest[] {
  spec.require("containers");
  const containers = spec.objects("containers").map(readContainer);
  const names = containers.map(({ name }) => name);
  const twice = names.find((name, index) => name !== "" && names.indexOf(name) < index);
  if (twice !== undefined) spec.refuse("containers", `has two that are named "${twice}"`);
  return containers;
}

function readContainer(fields: Fields): ContainerManifest {
  fields.require("name");
  fields.require("image");
  const hostNameRule = 'lower-case letters, digits and "-"';
  const image = fields.string("image", /^\S+$/, "the name of an image") ?? "";
  const policies = ["Always", "IfNotPresent", "Never"] as const;
  const resources = fields.object("resources");
  const container: ContainerManifest = {
    name: fields.string("name", NAME, hostNameRule) ?? "",
    image,
    imagePullPolicy: fields.choice("imagePullPolicy", policies) ?? defaultPullPolicy(image),
    command: fields.strings("command"),
    args: fields.strings("args"),
    workingDir: fields.string("workingDir") ?? "",
    env: fields.objects("env").map(readVariable),
    ports: fields.objects("ports").map(readPort),
    limits: resources?.quantities("limits") ?? {},
    requests: resources?.quantities("requests") ?? {},
    stdin: fields.boolean("stdin") ?? false,
    tty: fields.boolean("tty") ?? false,
  };
  resources?.refuseRest();
  fields.refuseRest();
  return container;
}

/** The API server's rule: what may move is asked for each time. */
function defaultPullPolicy(image: string): "Always" | "IfNotPresent" {
  if (image.includes("@")) return "IfNotPresent";
  const tag = /:([^/]+)$/.exec(image)?.[1] ?? "latest";
  return tag === "latest" ? "Always" : "IfNotPresent";
}

function readVariable(fields: Fields): ContainerManifest["env"][number] {
  fields.require("name");
  const name = fields.string("name", /^[^=\0]+$/, 'a name without "="') ?? "";
  const value = fields.string("value") ?? "";
  fields.refuseRest();
  return { name, value };
}

function readPort(fields: Fields): PortManifest {
  fields.require("containerPort");
  fields.string("name", /^[a-z0-9-]{1,15}$/, "at most 15 lower-case letters, digits and dashes");
  const port: PortManifest = {
    protocol: fields.choice("protocol", ["TCP", "UDP", "SCTP"]) ?? "TCP",
    containerPort: fields.integer("containerPort", 1, MAX_PORT) ?? 0,
    hostPort: fields.integer("hostPort", 1, MAX_PORT) ?? 0,
    hostIp: fields.string("hostIP") ?? "",
  };
  fields.refuseRest();
  return port;
}
