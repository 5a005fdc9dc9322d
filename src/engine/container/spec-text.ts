import type { Container } from "../../core/container/index.ts";
import { type ContainerContext, specSubject } from "./context.ts";

/** The runtime spec that a container has, or would be started with, as JSON text. */
export function containerSpecText(
  context: ContainerContext,
  container: Container,
): Promise<string> {
  return context.specs.build(specSubject(context, container));
}
