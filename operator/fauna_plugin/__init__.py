"""`kubectl fauna`: what a person does with a FaunaCluster, in a word each."""
