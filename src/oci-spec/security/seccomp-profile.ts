import { quoted, refuse } from "../refuse.ts";
import {
  type OciSeccomp,
  type OciSyscallArg,
  type OciSyscallRule,
  seccompActions as actions,
  seccompOperators as operators,
} from "../../core/oci/index.ts";

type JsonObject = Readonly<Record<string, unknown>>;

/**
 * A profile of the runtime-spec's form (config-linux.md, "Seccomp"), as `localhost_ref` names one.
 * 64-bit numbers keep all digits. Fields that the form lacks are ignored, as by containerd and CRI-O, except
 * Docker's conditions: a rule without its condition would allow more than intended.
 * `invalid-argument` naming `path` and the field for anything else.
 */
export function parseSeccompProfile(text: string, path: string): OciSeccomp {
  const fail = (why: string): never => refuse(`seccomp profile ${quoted(path)}: ${why}`);
  const profile = objectOf(parseExactly(text, fail), "it", fail);
  const errnoRet = numberOf(profile, "defaultErrnoRet", fail);
  const architectures = wordsOf(profile, "architectures", fail);
  const flags = wordsOf(profile, "flags", fail);
  const listenerPath = wordOf(profile, "listenerPath", fail);
  const listenerMetadata = wordOf(profile, "listenerMetadata", fail);
  return {
    defaultAction: oneOf(actions, profile["defaultAction"], "defaultAction", fail),
    ...(errnoRet === undefined ? {} : { defaultErrnoRet: errnoRet }),
    ...(architectures === undefined ? {} : { architectures }),
    ...(flags === undefined ? {} : { flags }),
    ...(listenerPath === undefined ? {} : { listenerPath }),
    ...(listenerMetadata === undefined ? {} : { listenerMetadata }),
    syscalls: listOf(profile, "syscalls", fail).map((rule) => parseRule(rule, fail)),
  };
}

type Fail = (why: string) => never;

/** JSON.parse, but integers beyond 2^53 become bigint: an argument has 64 bits. */
function parseExactly(text: string, fail: Fail): unknown {
  const exact = (_key: string, value: unknown, context?: { readonly source?: string }): unknown => {
    const source = context?.source ?? "";
    const isLarge = typeof value === "number" && !Number.isSafeInteger(value);
    return isLarge && /^[0-9]+$/.test(source) ? BigInt(source) : value;
  };
  try {
    return JSON.parse(text, exact);
  } catch {
    return fail("it is not JSON");
  }
}

function parseRule(value: unknown, fail: Fail): OciSyscallRule {
  const rule = objectOf(value, "a rule of syscalls", fail);
  for (const condition of ["includes", "excludes"]) {
    if (Object.keys(Object(rule[condition]) as object).length > 0) {
      fail(`"${condition}" is of Docker's form, write the profile in the OCI runtime-spec's`);
    }
  }
  const names = wordsOf(rule, "names", fail);
  if (names === undefined || names.length === 0) return fail("a rule has no names");
  const errnoRet = numberOf(rule, "errnoRet", fail);
  const args = listOf(rule, "args", fail).map((arg) => parseArg(arg, fail));
  return {
    names,
    action: oneOf(actions, rule["action"], "action", fail),
    ...(errnoRet === undefined ? {} : { errnoRet }),
    ...(args.length === 0 ? {} : { args }),
  };
}

function parseArg(value: unknown, fail: Fail): OciSyscallArg {
  const arg = objectOf(value, "an argument", fail);
  const index = numberOf(arg, "index", fail);
  if (index === undefined || index > 5) return fail(`index must be 0 to 5, got ${String(index)}`);
  const valueTwo = quantityOf(arg, "valueTwo", fail);
  return {
    index,
    value: quantityOf(arg, "value", fail) ?? 0,
    ...(valueTwo === undefined ? {} : { valueTwo }),
    op: oneOf(operators, arg["op"], "op", fail),
  };
}

function objectOf(value: unknown, what: string, fail: Fail): JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as JsonObject)
    : fail(`${what} is not an object`);
}

function listOf(from: JsonObject, key: string, fail: Fail): readonly unknown[] {
  const value = from[key] ?? [];
  return Array.isArray(value) ? value : fail(`${key} is not a list`);
}

function wordsOf(from: JsonObject, key: string, fail: Fail): readonly string[] | undefined {
  if (from[key] === undefined || from[key] === null) return undefined;
  return listOf(from, key, fail).map((word) =>
    typeof word === "string" ? word : fail(`${key} holds something that is not a text`),
  );
}

function wordOf(from: JsonObject, key: string, fail: Fail): string | undefined {
  const value = from[key];
  if (value === undefined || value === null || value === "") return undefined;
  return typeof value === "string" ? value : fail(`${key} is not a text`);
}

function quantityOf(from: JsonObject, key: string, fail: Fail): number | bigint | undefined {
  const value = from[key];
  if (value === undefined || value === null) return undefined;
  if (typeof value === "bigint" && value < 1n << 64n) return value;
  const isCount = typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
  return isCount ? value : fail(`${key} is not a number of 64 bits`);
}

function numberOf(from: JsonObject, key: string, fail: Fail): number | undefined {
  const value = quantityOf(from, key, fail);
  return typeof value === "bigint" ? fail(`${key} is too large: ${value}`) : value;
}

function oneOf<Name extends string>(
  allowed: readonly Name[],
  value: unknown,
  key: string,
  fail: Fail,
): Name {
  const known = allowed.find((name) => name === value);
  return known ?? fail(`${key} must be one of ${allowed.join(", ")}, got ${JSON.stringify(value)}`);
}
