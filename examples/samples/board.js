"use strict";

const table = document.querySelector("#arrivals tbody");

async function refresh() {
  const response = await fetch("/api/arrivals?limit=10");
  if (!response.ok) {
    throw new Error(`arrivals: ${response.status}`);
  }
  const ships = await response.json();
  table.replaceChildren(
    ...ships.map((ship) => {
      const row = document.createElement("tr");
      row.innerHTML = `<td>${ship.name}</td><td>${ship.expected}</td>`;
      return row;
    }),
  );
}

setInterval(() => refresh().catch(console.error), 30_000);
