"""The list prices that come with the broker: the data of the package `genai-prices`, compiled once into our
table (`extract`, in a process of its own) and kept in the user's cache (`bundled`)."""
