import { readFile } from "node:fs/promises";

interface Buoy {
  readonly id: number;
  colour: "red" | "green" | "yellow";
  position: [number, number];
  light?: string;
}

type ByColour = Record<Buoy["colour"], Buoy[]>;

export async function load(path: string): Promise<ByColour> {
  const buoys: Buoy[] = JSON.parse(await readFile(path, "utf-8"));
  return buoys.reduce<ByColour>(
    (groups, buoy) => {
      groups[buoy.colour].push(buoy);
      return groups;
    },
    { red: [], green: [], yellow: [] },
  );
}
