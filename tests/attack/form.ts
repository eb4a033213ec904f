/** How long the attacks last. `ZEN_ATTACK=long` asks for the long form, each attack at full size; the gate runs the short one. */
export const LONG = Deno.env.get("ZEN_ATTACK") === "long";
/** `ZEN_ATTACK_SHOW=true`: prints what each attack costs. */
export const SHOW = Deno.env.get("ZEN_ATTACK_SHOW") === "true";
