// The smallest useful image: greets and prints its environment.
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv) {
    char host[256] = "?", directory[4096] = "?";
    gethostname(host, sizeof host - 1);
    if (!getcwd(directory, sizeof directory)) perror("getcwd");
    printf("Hello from inside the container.\n");
    printf("uid %d gid %d, host %s, directory %s\n", (int)getuid(), (int)getgid(), host, directory);
    printf("arguments:");
    for (int i = 0; i < argc; i++) printf(" %s", argv[i]);
    printf("\n");
    return 0;
}
