import { Leases, type RemovePod } from "../../engine/lifecycle/leases.ts";
import { RemoveAfter } from "../../engine/lifecycle/remove-after.ts";
import { removeUnattended, type SandboxContext } from "../../engine/sandbox/index.ts";

type Parts = Omit<
  ConstructorParameters<typeof Leases>[0] & ConstructorParameters<typeof RemoveAfter>[0],
  "removePod"
>;

/** What removes pods without a client: the ends of leases, and of containers that pods go with. */
export function removalsOf(
  parts: Parts,
  context: () => SandboxContext,
  undo: AsyncDisposableStack,
): Pick<Leases, "begin" | "facts"> & { readonly leases: Leases } {
  const removePod: RemovePod = (id, how) => removeUnattended(context(), id, how);
  const leases = undo.use(new Leases({ ...parts, removePod }));
  const removeAfter = undo.use(new RemoveAfter({ ...parts, removePod }));
  return {
    leases,
    begin: async () => {
      await leases.begin();
      await removeAfter.begin();
    },
    facts: () => leases.facts(),
  };
}
