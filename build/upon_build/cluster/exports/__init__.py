"""Objects as the files that other tools take: kustomize, Helm."""
