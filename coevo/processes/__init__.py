"""Work in processes of its own that may die, hang or eat memory without taking the program along."""
