import { create, toBinary } from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import { stringify } from "smol-toml";
import { RuntimeError } from "../../../base/errors.ts";
import { OptionsSchema as RuncOptionsSchema } from "../../../gen/containerd/runc/v1/options_pb.ts";
import { OptionsSchema as GenericOptionsSchema } from "../../../gen/runtimeoptions/v1/options_pb.ts";

/** The options of a handler, from its table in the configuration. */
export type HandlerOptions = Readonly<Record<string, unknown>>;

/** Fields of containerd.runc.v1.Options by their names in containerd's configuration. */
const runcFields = {
  NoPivotRoot: ["noPivotRoot", "boolean"],
  NoNewKeyring: ["noNewKeyring", "boolean"],
  ShimCgroup: ["shimCgroup", "string"],
  IoUid: ["ioUid", "number"],
  IoGid: ["ioGid", "number"],
  BinaryName: ["binaryName", "string"],
  Root: ["root", "string"],
  SystemdCgroup: ["systemdCgroup", "boolean"],
  CriuImagePath: ["criuImagePath", "string"],
  CriuWorkPath: ["criuWorkPath", "string"],
} as const;

/** Fields of runtimeoptions.v1.Options, likewise. */
const genericFields = {
  TypeUrl: ["typeUrl", "string"],
  ConfigPath: ["configPath", "string"],
  ConfigBody: ["configBody", "string"],
} as const;

type Fields = Readonly<Record<string, readonly [field: string, type: string]>>;

/** True for a shim that has the options of runc's shim. */
export function isRuncType(runtimeType: string): boolean {
  return /(^|[./-])runc[.-]v\d+$/.test(runtimeType);
}

/** The OCI runtime of runc's shim with these options. */
export function runtimeOfOptions(options: HandlerOptions): string {
  const name = options["BinaryName"];
  return typeof name === "string" && name !== "" ? name : "runc";
}

/**
 * Encodes the options for a shim of this type: containerd.runc.v1.Options for runc's, with `root`
 * if they have no root; runtimeoptions.v1.Options for all others, which get the whole table as TOML
 * unless it names a file. `invalid-argument` for a name or a type that the shim does not know.
 */
export function encodeOptions(runtimeType: string, options: HandlerOptions, root: string): Any {
  if (isRuncType(runtimeType)) {
    const message = create(RuncOptionsSchema, { root, ...select(options, runcFields, true) });
    const value = toBinary(RuncOptionsSchema, message);
    return create(AnySchema, { typeUrl: RuncOptionsSchema.typeName, value });
  }
  const { configBody, ...known } = select(options, genericFields, false);
  const body = typeof configBody === "string" ? configBody : stringify(options);
  const needsBody = known["configPath"] === undefined && Object.keys(options).length > 0;
  const message = create(GenericOptionsSchema, {
    ...known,
    ...(needsBody ? { configBody: new TextEncoder().encode(body) } : {}),
  });
  const value = toBinary(GenericOptionsSchema, message);
  return create(AnySchema, { typeUrl: GenericOptionsSchema.typeName, value });
}

function select(
  options: HandlerOptions,
  fields: Fields,
  strict: boolean,
): Readonly<Record<string, unknown>> {
  const selected: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(options)) {
    const known = Object.hasOwn(fields, name) ? fields[name] : undefined;
    if (known === undefined) {
      if (!strict) continue;
      const names = Object.keys(fields).join(", ");
      const text = `read options of the shim: unknown option "${name}"; known are: ${names}`;
      throw new RuntimeError("invalid-argument", text);
    }
    const [field, type] = known;
    if (typeof value !== type) {
      throw new RuntimeError(
        "invalid-argument",
        `read options of the shim: "${name}" must be a ${type}, got a ${typeof value}`,
      );
    }
    selected[field] = value;
  }
  return selected;
}
