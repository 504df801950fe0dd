#!/bin/sh
# Stands in for shopmend: notes in $CALLS how it was called, ends as $ENDS says ("repair=4 scan=1").
# A file of its own and not one that each test writes: a file just written may still be busy when it is to be run.
echo "$*" >> "$CALLS"
echo "said by the program"
for pair in $ENDS; do
  case " $* " in
    *" ${pair%=*} "*) exit "${pair#*=}" ;;
  esac
done
