from ohbuild.cli import main

main()
