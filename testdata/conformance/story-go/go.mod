module example.invalid/app
