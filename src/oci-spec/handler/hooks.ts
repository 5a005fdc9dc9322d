import { posix } from "node:path";
import { isKind, messageOf, RuntimeError } from "../../base/errors.ts";
import { withinTimeLimit } from "../../base/time-limit.ts";
import {
  hookStages,
  type OciHook,
  type OciHooks,
  type OciHookStage,
  type OciSpec,
} from "../../core/oci/index.ts";

/** A file of a hooks directory: a hook, and which containers it is for (oci-hooks(5), version 1.0.0). */
export interface HookDefinition {
  /** Where it was read. */
  readonly file: string;
  readonly hook: OciHook;
  readonly stages: readonly OciHookStage[];
  readonly when: {
    readonly always?: boolean;
    readonly hasBindMounts?: boolean;
    /** Patterns of keys and of their values; each pair must match. */
    readonly annotations: readonly (readonly [key: RegExp, value: RegExp])[];
    /** Patterns of the command; one must match. */
    readonly commands: readonly RegExp[];
  };
}

/**
 * Reads a file of a hooks directory. `failed-precondition` naming the file and what is wrong with it: a
 * container must not run without a hook that the node's administrator requires.
 */
export function parseHook(text: string, file: string): HookDefinition {
  const fail = (why: string): never => {
    throw new RuntimeError("failed-precondition", `read OCI hook "${file}": ${why}; fix it`);
  };
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    return fail(messageOf(error));
  }
  if (!isTable(json)) return fail("it is not a JSON object");
  if (json["version"] !== "1.0.0") {
    return fail(`version must be "1.0.0", got ${JSON.stringify(json["version"])}`);
  }
  try {
    return {
      file,
      hook: hookOf(json["hook"]),
      stages: stagesOf(json["stages"]),
      when: whenOf(json["when"]),
    };
  } catch (error) {
    return fail(messageOf(error));
  }
}

function hookOf(json: unknown): OciHook {
  if (!isTable(json)) throw new TypeError("hook must be an object");
  const { path, args, env, timeout } = json;
  if (typeof path !== "string" || !posix.isAbsolute(path)) {
    throw new TypeError("hook.path must be an absolute path");
  }
  if (timeout !== undefined && !(Number.isInteger(timeout) && Number(timeout) > 0)) {
    throw new TypeError("hook.timeout must be a number of seconds above 0");
  }
  return {
    path,
    ...(args === undefined ? {} : { args: textsOf(args, "hook.args") }),
    ...(env === undefined ? {} : { env: textsOf(env, "hook.env") }),
    ...(timeout === undefined ? {} : { timeout: Number(timeout) }),
  };
}

function stagesOf(json: unknown): readonly OciHookStage[] {
  const stages = textsOf(json, "stages");
  if (stages.length === 0) throw new TypeError("stages must name one or more");
  return stages.map((name) => {
    const stage = hookStages.find((each) => each === name);
    if (stage !== undefined) return stage;
    throw new TypeError(`stages: "${name}" must be one of ${hookStages.join(", ")}`);
  });
}

function whenOf(json: unknown): HookDefinition["when"] {
  if (!isTable(json)) throw new TypeError("when must be an object");
  const { always, hasBindMounts, annotations = {}, commands = [] } = json;
  if (!isTable(annotations)) throw new TypeError("when.annotations must be an object");
  return {
    ...(always === undefined ? {} : { always: flagOf(always, "when.always") }),
    ...(hasBindMounts === undefined
      ? {}
      : { hasBindMounts: flagOf(hasBindMounts, "when.hasBindMounts") }),
    annotations: Object.entries(annotations).map(([key, value]) => {
      const [pattern = ""] = textsOf([value], `when.annotations["${key}"]`);
      return [new RegExp(key), new RegExp(pattern)];
    }),
    commands: textsOf(commands, "when.commands").map((pattern) => new RegExp(pattern)),
  };
}

function textsOf(json: unknown, name: string): readonly string[] {
  if (Array.isArray(json) && json.every((each) => typeof each === "string")) return json;
  throw new TypeError(`${name} must be text`);
}

function flagOf(json: unknown, name: string): boolean {
  if (typeof json === "boolean") return json;
  throw new TypeError(`${name} must be true or false`);
}

function isTable(json: unknown): json is Readonly<Record<string, unknown>> {
  return typeof json === "object" && json !== null && !Array.isArray(json);
}

/** The facts that the conditions of hooks use. */
interface HookSubject {
  readonly spec: OciSpec;
  /** Of pod and container. */
  readonly annotations: Readonly<Record<string, string>>;
  /** Whether the request mounts something. */
  readonly hasBindMounts: boolean;
}

/**
 * How long all patterns together may take. Sound ones take microseconds; one with nested repetition
 * could take hours, with an annotation that is made for it.
 */
const patternMs = 200;

/**
 * The spec's hooks, and after them those of the definitions that are for this container.
 * `failed-precondition` naming the file whose patterns take too long: whether the container needs the
 * hook is not known then.
 */
export function withHooks(
  subject: HookSubject,
  definitions: readonly HookDefinition[],
): OciHooks | undefined {
  const chosen = definitions.length === 0 ? [] : chosenHooks(subject, definitions);
  if (chosen.length === 0) return subject.spec.hooks;
  const hooks: Partial<Record<OciHookStage, readonly OciHook[]>> = { ...subject.spec.hooks };
  for (const { hook, stages } of chosen) {
    for (const stage of stages) hooks[stage] = [...(hooks[stage] ?? []), hook];
  }
  return hooks;
}

function chosenHooks(
  subject: HookSubject,
  definitions: readonly HookDefinition[],
): readonly HookDefinition[] {
  let file = "";
  try {
    return withinTimeLimit(patternMs, () =>
      definitions.filter((definition) => {
        file = definition.file;
        return matches(definition.when, subject);
      }),
    );
  } catch (cause) {
    if (!isKind(cause, "deadline-exceeded")) throw cause;
    throw new RuntimeError(
      "failed-precondition",
      `match OCI hook "${file}": the patterns of hooks_dir took longer than ${patternMs} ms with the command and the annotations of this container; write them without repetition in a repetition`,
      { cause },
    );
  }
}

/** All conditions must hold, and at least one must be set. */
function matches(when: HookDefinition["when"], subject: HookSubject): boolean {
  const annotations = Object.entries(subject.annotations);
  const command = subject.spec.process.args[0] ?? "";
  const conditions = [
    ...(when.always === undefined ? [] : [when.always]),
    ...(when.hasBindMounts === undefined ? [] : [when.hasBindMounts && subject.hasBindMounts]),
    ...when.annotations.map(([key, value]) =>
      annotations.some((each) => key.test(each[0]) && value.test(each[1])),
    ),
    ...(when.commands.length === 0 ? [] : [when.commands.some((each) => each.test(command))]),
  ];
  return conditions.length > 0 && conditions.every(Boolean);
}
