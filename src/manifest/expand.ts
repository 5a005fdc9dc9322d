/**
 * Replaces $(NAME) by the variable's value, as Kubernetes does in command, args and env: $$ stands
 * for one $, so that $$(NAME) stays $(NAME), and the name of no variable stays as it is.
 */
export function expandVariables(text: string, variables: ReadonlyMap<string, string>): string {
  return text.replace(/\$(?:\$|\(([^()]*)\))/g, (whole, name: string | undefined) =>
    name === undefined ? "$" : (variables.get(name) ?? whole),
  );
}
