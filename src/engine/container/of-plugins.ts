import type { Container } from "../../core/container/index.ts";
import type { OciSpec } from "../../core/oci/index.ts";
import type { ContainerOfPlugins } from "../../core/plugin/index.ts";
import { type ContainerContext, runtimeOf, specSubject } from "./context.ts";

/**
 * A container as plugins are told about it. Its spec is read when the first plugin asks for it, once.
 * Undefined for a container whose sandbox is not known: plugins know neither.
 */
export function ofPlugins(
  context: ContainerContext,
  container: Container,
  known: { readonly spec?: OciSpec; readonly pid?: number } = {},
): ContainerOfPlugins | undefined {
  const sandbox = context.sandboxes.peek(container.sandboxId);
  if (sandbox === undefined) return undefined;
  let reading: Promise<OciSpec | undefined> | undefined;
  const read = (): Promise<OciSpec | undefined> => readSpec(context, container);
  return {
    container,
    sandbox,
    spec: () => (reading ??= known.spec === undefined ? read() : Promise.resolve(known.spec)),
    ...(known.pid === undefined ? {} : { pid: known.pid }),
  };
}

/** The spec that the container was started with, else the one that it would be started with now. */
async function readSpec(
  context: ContainerContext,
  container: Container,
): Promise<OciSpec | undefined> {
  try {
    const started =
      container.state.name === "created"
        ? undefined
        : await runtimeOf(context, container).spec(container.id);
    return started ?? (await context.specs.build(specSubject(context, container)));
  } catch {
    // A plugin learns less then: the event itself is more important.
    return undefined;
  }
}
