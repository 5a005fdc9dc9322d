import type { CniResult } from "../result.ts";

/** What a plugin of a list is called with: the environment and stdin of the CNI specification, section 3, as values. */
export interface PluginCall {
  readonly containerId: string;
  /** Path of the pod's network namespace; "" when it does not exist any more (DEL). */
  readonly netns: string;
  readonly ifName: string;
  /** The plugin's configuration as it would be on stdin, with name, cniVersion and runtimeConfig; without prevResult. */
  readonly conf: Readonly<Record<string, unknown>>;
  readonly signal: AbortSignal;
}

/** A CNI plugin that davit carries out by itself. */
export interface BuiltinPlugin {
  readonly type: string;
  /** The capabilities whose arguments it reads strictly: with another one the plugin itself must run. Undefined: any. */
  readonly capabilities?: readonly string[];
  /** Why the plugin itself must run: a key or a value that is not known here. Undefined: davit does all that it would do. */
  obstacle(conf: Readonly<Record<string, unknown>>): string | undefined;
  /** As ADD: returns the result, from that of the plugin before. A failure leaves nothing that del() does not remove. */
  add(call: PluginCall, previous: CniResult | undefined): Promise<CniResult>;
  /** As DEL: idempotent. `previous` is the recorded result of the list. */
  del(call: PluginCall, previous: CniResult | undefined): Promise<void>;
}
