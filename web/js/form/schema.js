/* What a JSON Schema asks for, in the few shapes that a form knows. Pure. */

/** The schema with `$ref` followed; what stands beside the reference (default, description) wins. */
export function resolve(schema, root) {
  let found = schema, beside = {};
  for (let depth = 0; found?.$ref && depth < 20; depth += 1) {
    const { $ref, ...rest } = found;
    beside = { ...rest, ...beside };
    found = $ref.replace(/^#\//, "").split("/").reduce((at, name) => at?.[name.replaceAll("~1", "/").replaceAll("~0", "~")], root);
  }
  const all = found?.allOf?.length === 1 ? { ...resolve(found.allOf[0], root), ...found } : found ?? {};
  return { ...all, ...beside };
}

/** The alternatives of a schema, each resolved; [] where it is one thing. */
export function alternatives(schema, root) {
  return (schema.oneOf ?? schema.anyOf ?? []).map((one) => resolve(one, root));
}

/** The word by which an alternative is told: its `kind`, when that is a constant. */
export const kindOf = (schema) => schema.properties?.kind?.const ?? (schema.properties?.kind?.enum?.length === 1 ? schema.properties.kind.enum[0] : undefined);

export const isNull = (schema) => schema.type === "null" || schema.const === null;

/** The value without what is the default anyway, so that a spec says only what was chosen. */
export function prune(value, schema, root) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
  const known = resolve(schema, root), options = alternatives(known, root);
  const chosen = options.length ? options.find((one) => kindOf(one) !== undefined && kindOf(one) === value.kind) ?? options.find((one) => one.properties) ?? {} : known;
  const kept = {};
  for (const [name, inner] of Object.entries(value)) {
    const of = resolve(chosen.properties?.[name] ?? {}, root);
    if (name !== "kind" && same(inner, of.default)) continue;
    const pruned = prune(inner, of, root);
    const bare = pruned && typeof pruned === "object" && !Array.isArray(pruned) && Object.keys(pruned).every((key) => key === "kind");
    if (bare && name !== "spec" && of.default !== undefined && (pruned.kind === undefined || pruned.kind === of.default?.kind)) continue;
    kept[name] = pruned;
  }
  return kept;
}

const same = (a, b) => b !== undefined && JSON.stringify(a) === JSON.stringify(b);

/** One of: object, choice (by kind), nullable, either, enum, constant, boolean, number, text, flags, scalars, list, map, any. */
export function shapeOf(schema, root) {
  if ("const" in schema) return "constant";
  if (schema.enum) return "enum";
  const options = alternatives(schema, root);
  if (options.length) {
    const real = options.filter((one) => !isNull(one));
    if (real.every((one) => kindOf(one) !== undefined)) return real.length < options.length ? "nullable" : "choice";
    if (real.length === 1 && real.length < options.length) return "nullable";
    return "either";
  }
  if (schema.type === "boolean") return "boolean";
  if (schema.type === "integer" || schema.type === "number") return "number";
  if (schema.type === "string") return "text";
  if (schema.type === "array" && resolve(schema.items ?? {}, root).enum) return "flags";
  if (schema.type === "array") return scalar(resolve(schema.items ?? schema.prefixItems?.[0] ?? {}, root), root) ? "scalars" : "list";
  if (schema.properties) return "object";
  if (schema.type === "object") return "map";
  return "any";
}

function scalar(schema, root) {
  return ["boolean", "number", "text", "enum", "constant"].includes(shapeOf(schema, root)) || schema.type === "array" || !Object.keys(schema).length;
}

/** The schema without its null alternative. */
export function withoutNull(schema, root) {
  const real = alternatives(schema, root).filter((one) => !isNull(one));
  const { anyOf, oneOf, ...rest } = schema;
  if (real.length === 1) return { ...real[0], ...rest, description: rest.description ?? real[0].description };
  return { ...rest, oneOf: real };
}

/** The least value that the schema accepts as a start. */
export function initial(schema, root) {
  if (schema.default !== undefined && schema.default !== null) return structuredClone(schema.default);
  const shape = shapeOf(schema, root);
  if (shape === "constant") return schema.const;
  if (shape === "enum") return schema.enum[0];
  if (shape === "choice") return { kind: kindOf(alternatives(schema, root)[0]) };
  if (shape === "nullable") return initial(withoutNull(schema, root), root);
  if (shape === "either") return initial(alternatives(schema, root)[0], root);
  if (shape === "object") return kindOf(schema) ? { kind: kindOf(schema) } : {};
  return { boolean: false, number: schema.minimum ?? schema.exclusiveMinimum ?? 1, text: "", flags: [], scalars: [], list: [], map: {} }[shape] ?? null;
}

/** The limits of a field in words: `1 … 4096`. */
export function limits(schema) {
  const low = schema.minimum ?? (schema.exclusiveMinimum !== undefined ? `>${compact(schema.exclusiveMinimum)}` : null);
  const high = schema.maximum ?? (schema.exclusiveMaximum !== undefined ? `<${compact(schema.exclusiveMaximum)}` : null);
  if (low === null && (high === null || high >= 1e8)) return "";
  if (high === null || high >= 1e8) return typeof low === "string" ? low.replace(">", "> ") : `≥ ${compact(low)}`;
  return `${compact(low)} … ${compact(high)}`;
}

const compact = (value) => (typeof value === "number" && Math.abs(value) >= 1e5 ? value.toExponential().replace("e+", "e") : String(value));

/** A value in a few words, for the head of a folded part. */
export function gist(value) {
  if (value === null || value === undefined) return "as by default";
  if (Array.isArray(value)) return value.length ? value.map((one) => (typeof one === "object" && one ? one.kind ?? "…" : String(one))).join(", ") : "none";
  if (typeof value !== "object") return String(value);
  const { kind, ...rest } = value;
  return Object.entries(kind === undefined ? rest : { kind, ...rest }).slice(0, 5).map(([name, one]) => (name === "kind" ? one : `${name} ${typeof one === "object" && one ? (Array.isArray(one) && one.every((x) => typeof x !== "object") ? JSON.stringify(one) : one.kind ?? "…") : one}`)).join(" · ");
}
