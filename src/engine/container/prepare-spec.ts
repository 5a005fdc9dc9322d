import type { Rollback } from "../../base/rollback.ts";
import type { CheckedConfig } from "../../core/container/index.ts";
import type { Image } from "../../core/image/index.ts";
import type { OciSpec } from "../../core/oci/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import type { CreatedWithPlugins } from "../../core/plugin/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import { asksForByteValues } from "../../oci-spec/index.ts";
import { askEarly } from "./adjust.ts";
import { type ContainerContext, specSubject } from "./context.ts";
import { requireOwnIds } from "./own-ids.ts";
import { knownUser, rememberUser, userOf } from "./user.ts";
import type { FoundVolumes } from "./volumes.ts";

/** A container that is being created, as far as its spec depends on it. */
interface SpecPlan {
  readonly id: string;
  readonly config: CheckedConfig;
  readonly sandbox: Sandbox;
  readonly image: Image;
  readonly volumes: FoundVolumes;
}

/** What was prepared without the root, and the question to the plugins that is on its way. */
interface EarlyQuestion extends AsyncDisposable {
  readonly spec: OciSpec;
  readonly asked: Promise<CreatedWithPlugins>;
}

/**
 * Resolves the user and builds the spec, to report errors early. The start builds it again, since resources may
 * change until then. `rootfs` is the mounted root; without it, the user must be known.
 */
export async function prepareSpec(
  context: ContainerContext,
  { id, config, sandbox, image }: SpecPlan,
  operation: RunningOperation,
  rootfs: string | undefined,
): Promise<OciSpec> {
  await operation.enter("resolve-user");
  const wanted = userOf(config, image.config.user);
  let user = knownUser(image, wanted);
  if (user === undefined) {
    user = await context.rootFiles.resolveUser(rootfs ?? context.roots.pathOf(id), wanted);
    rememberUser(image, wanted, user);
  }
  const resolved = context.store.update(id, (now) => ({ ...now, user }));
  await requireOwnIds(context, resolved, sandbox.id);
  await operation.enter("prepare-spec");
  return context.specs.build(specSubject(context, resolved));
}

/**
 * Asks the plugins while the root is being mounted, if everything that they are told is known without it: an earlier
 * container of the image had the same user, and neither a volume nor the spec needs the root. Undefined otherwise,
 * and without plugins. Disposing of the result waits for the answer, so that an undo does not overtake it. The
 * caller has the hold of the plugins, and has registered the undo of the root: the plugins must learn the end first.
 */
export async function prepareEarly(
  context: ContainerContext,
  plan: SpecPlan,
  known: {
    readonly label: string | undefined;
    readonly operation: RunningOperation;
    readonly undo: Rollback;
  },
): Promise<EarlyQuestion | undefined> {
  const { id, config, image, volumes } = plan;
  const { label, operation, undo } = known;
  if (context.plugins?.active !== true || label !== undefined) return undefined;
  if (knownUser(image, userOf(config, image.config.user)) === undefined) return undefined;
  if (volumes.images.length > 0 || volumes.paths.length > 0) return undefined;
  if (asksForByteValues(config.envs, image.config.env)) return undefined;
  const spec = await prepareSpec(context, plan, operation, undefined);
  const asked = askEarly(context, context.store.get(id), { spec, operation, undo });
  if (asked === undefined) return undefined;
  return {
    spec,
    asked,
    async [Symbol.asyncDispose]() {
      await asked.catch(() => undefined);
    },
  };
}
